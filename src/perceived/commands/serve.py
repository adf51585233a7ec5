"""``perceived serve``: the command that starts the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived.commands.cluster import Cluster
from perceived.extras import needed_for


def serve(
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="A shipped model, or an exported ONNX file.", show_default="default"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 lets others in.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes, each with its own model; with --cluster, the most of them.", show_default="1"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What runs the model: cpu, cuda, coreml or openvino.", show_default="cpu"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Answer 'uncertain' below this confidence.", show_default="the model's own")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="File with lines like PERCEIVED_SERVE_QUEUE=512.", show_default=False)
    ] = None,
    cluster: Cluster = None,
) -> None:
    """Serve an HTTP API and a page to try it. Flags win over PERCEIVED_SERVE_* variables, these over --config."""
    from perceived.server import settings

    flags = {"model": model, "host": host, "port": port, "workers": workers, "device": device, "threshold": threshold}
    chosen = settings.load(config, **flags)
    if cluster is not None:
        with needed_for("'perceived serve --cluster'", extra="cluster"):
            from perceived.cluster import serve as on_cluster

        on_cluster.run(chosen, address=cluster, announce=_announce)
        return
    from perceived.server import run

    run.run(chosen, announce=_announce)


def _announce(address: str) -> None:
    typer.echo(f"perceived serves at {address}")
