"""From a dataset to what training sees of it: download, prepare, explore, split and augment."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Seed, Settings, Work, listed, meanings
from perceived.errors import ConfigError


class Dataset(enum.StrEnum):
    CELEBA = "celeba"


class Check(enum.StrEnum):
    SIZE = "size"
    DECODE = "decode"


def download(
    dataset: Annotated[Dataset, typer.Argument(metavar="DATASET", help="Which dataset: celeba.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("celeba"),
) -> None:
    """Download a dataset. An interrupted download goes on where it stopped."""
    from perceived.data import download as downloads

    assert dataset is Dataset.CELEBA
    typer.echo(f"{dataset}: {downloads.celeba(to)}")


def prepare(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="CelebA, FairFace, UTKFace, a folder for each class, or a csv: folders or zips.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder WORK for this and the later stages.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Fail if anything in the dataset is amiss.")] = False,
    annotations_only: Annotated[
        bool, typer.Option("--annotations-only", help="Look for no pictures: enough to explore.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=LABEL", help="A dataset's word for female, male or none; may be repeated."),
    ] = None,
    check: Annotated[
        Check, typer.Option(help="How to try each picture: by its size and end, or by decoding it whole.")
    ] = Check.SIZE,
    partition: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where all pictures go, such as test: to try a model on everything."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Read datasets into one table. Report what is amiss in them.

    Where a dataset sets no validation pictures aside, a tenth of its training pictures is held out.
    """
    from perceived.data import labels, table
    from perceived.progress import counter

    words = meanings("--label", label, labels.MEANINGS)
    with counter("checking pictures") as progress:
        report = table.prepare(
            data,
            out,
            strict=strict,
            check=check.value,
            annotations_only=annotations_only,
            words=words,
            partition=partition,
            seed=seed,
            progress=progress,
        )
    terminal.show(report.table())


def explore(
    work: Work,
    picture: Annotated[str, typer.Option(help="Picture to show, by its id.")] = "000409.jpg",
    attributes: Annotated[
        str, typer.Option(help="Attributes to show with it, separated by commas.")
    ] = "Bald,Male,Young",
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="WORK/explore")] = None,
) -> None:
    """Draw the pictures and charts of CelebA, or a set like it. Fit the baseline that never looks at a picture."""
    from perceived import explore as exploration

    exploration.explore(work, picture=picture, attributes=listed(attributes), out=out)
    typer.echo(f"report: {(out or work / 'explore') / 'report.html'}")


def split(
    work: Work,
    train: Annotated[int | None, typer.Option(help="Pictures to train on.", show_default="20000")] = None,
    val: Annotated[int | None, typer.Option(help="Pictures to validate on.", show_default="5000")] = None,
    test: Annotated[int | None, typer.Option(help="Pictures to test on.", show_default="5000")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Take every picture of each partition.")] = False,
    balance: Annotated[
        bool | None,
        typer.Option(
            "--balance/--no-balance", help="Take as many female as male.", show_default="balance, but for --all"
        ),
    ] = None,
    weigh_by: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Train on groups alike, however unequal: source,label,race.")
    ] = "",
    boost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE:TIMES",
            help="Show a group so many times as often: race=Black:2; may be repeated.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw training, validation and test pictures. Each comes from its official partition."""
    from perceived.data import split as splits

    sizes = {name: size for name, size in (("train", train), ("val", val), ("test", test)) if size is not None}
    if everything and sizes:
        raise ConfigError(
            f"--all takes every picture, and --{next(iter(sizes))} some of them.", mend="give one of them"
        )
    if everything and balance:
        raise ConfigError(
            "--all takes every picture, however unequal, and --balance as many female as male.",
            mend="give one of them, or --all --weigh-by label, which trains on both alike",
        )
    factors = [_factor(one) for one in boost or ()]
    if len(dict(factors)) < len(factors):
        raise ConfigError("--boost is given twice for one group.", mend="give it once")
    drawn = splits.make(
        work,
        **sizes,
        everything=everything,
        balance=balance is not False,
        weigh_by=listed(weigh_by),
        boost=dict(factors),
        seed=seed,
    )
    counts = drawn.group_by("split", "label").len().sort("split", "label")
    terminal.table(("split", "label", "pictures"), counts.iter_rows())


def _factor(text: str) -> tuple[str, float]:
    """Read ``COLUMN=VALUE:TIMES``."""
    group, _, times = text.rpartition(":")
    try:
        return group, float(times)
    except ValueError as error:
        raise ConfigError(f"--boost {text} gives no number.", expected="COLUMN=VALUE:TIMES, as race=Black:2") from error


def augment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of a face.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe whose training sees such pictures.")] = "study",
    out: Annotated[
        Path | None, typer.Option(help="PNG to write.", show_default="NAME-augmented.png in this folder")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Draw ten variations of a picture. Beside the original, they are what a recipe's training sees of it, unmixed."""
    from perceived import recipes as known
    from perceived.data import preview

    target = out or Path(f"{image.stem}-augmented.png")
    preview.preview(image, target, known.get(recipe, settings or []), seed=seed)
    typer.echo(f"preview: {target}")
