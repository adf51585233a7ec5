"""``--cluster``: what the commands that can run on a Ray cluster share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perceived.commands.remote import refuse
from perceived.errors import ConfigError
from perceived.extras import needed_for
from perceived.storage import make_folder
from perceived.tally import Tally

if TYPE_CHECKING:
    from perceived.cluster.trials import Trials

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run on a Ray cluster: HOST:PORT, auto, or local for one on this machine.",
        show_default=False,
    ),
]
Workers = Annotated[int | None, typer.Option(help="With --cluster: most processes.", show_default="as many as fit")]


def predict(
    address: str,
    words: Sequence[str],
    out: str | None,
    *,
    model: str,
    options: Mapping[str, Any],
    workers: int | None,
    part_size: int | None,
    local: Mapping[str, Any],
) -> Tally:
    """Answer on a cluster; ``local`` are options that only a process that writes one list could follow.

    Raises:
        ConfigError: one of those was given, or no folder to write to.
    """
    beside = "--cluster, which writes a folder of Parquet files and goes on by itself where it stopped"
    refuse(local, beside, mend="leave it out")
    if out is None:
        raise ConfigError(
            "A cluster's answers need a place that every node can write to.",
            mend="give --out FOLDER, shared by all nodes, or --out s3://bucket/folder",
        )
    with needed_for("'perceived predict --cluster'", extra="cluster"):
        from perceived.cluster import predict as job

    size = job.PART_SIZE if part_size is None else part_size
    return job.predict(words, out, address=address, model=model, options=options, workers=workers, part_size=size)


@contextlib.contextmanager
def trials(command: str, address: str | None, work: Path, out: Path, *, workers: int | None) -> Iterator[Trials | None]:
    """Yield what runs trials on the cluster at ``address``, and ``None`` where there is none.

    Both folders are to be seen by every node.
    """
    if address is None:
        refuse({"workers": workers}, "one process", mend="add --cluster ADDRESS")
        yield None
        return
    with needed_for(f"'perceived {command} --cluster'", extra="cluster"):
        from perceived.cluster import trials as jobs

    make_folder(out)
    with jobs.trials(address, work.resolve(), out.resolve(), workers=workers) as there:
        yield there
