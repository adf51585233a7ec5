"""``perceived video``: one answer for each face of a video or a camera."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perceived import terminal
from perceived.commands.predict import AlwaysAnswer, Device, MinFace, Model, Threshold, threshold_of
from perceived.errors import STOPPED, ConfigError, ImageError
from perceived.storage import atomic_path
from perceived.types import SCHEMA_VERSION
from perceived.wording import confidence, counted

if TYPE_CHECKING:
    from perceived.predictor import Predictor
    from perceived.tracking import Tracker
    from perceived.video import Followed


def video(
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO", help="A video file; camera, or camera:1 for the second one.", show_default=False
        ),
    ],
    model: Model = "default",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the video there with boxes drawn.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a face.")] = False,
    every: Annotated[int, typer.Option(help="Look for faces in every so many frames.")] = 3,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after so many seconds.", show_default="at the end")
    ] = None,
    threshold: Threshold = None,
    always_answer: AlwaysAnswer = False,
    min_face: MinFace = None,
    device: Device = "cpu",
) -> None:
    """Follow the faces of a video. Print one answer for each; control-C ends it, and what was seen is answered."""
    from perceived.predictor import Predictor
    from perceived.tracking import Tracker
    from perceived.video import follow, frames, is_camera

    if seconds is not None and not 0 < seconds < math.inf:
        raise ConfigError(f"A video of {seconds:g} seconds is impossible.", expected="more than 0")
    if out is not None and out.exists() and Path(source).exists() and out.samefile(source):
        raise ConfigError(f"{out} is the video itself.", expected="another name", mend="--out annotated.mp4")
    predictor = Predictor(
        model,
        threshold=threshold_of(threshold, always_answer=always_answer),
        min_face=min_face,
        device=device,
    )
    tracker = Tracker()
    lost: list[str] = []
    wanted = takewhile(lambda frame: seconds is None or frame.seconds <= seconds, frames(source, lost=lost))
    last, ended = None, None
    with _recording(out, predictor.threshold) as record:
        try:
            for one in follow(predictor, wanted, tracker, every=every):
                record(one)
                last = one
        except (KeyboardInterrupt, ImageError) as early:
            if last is None:  # nothing was seen: there is nothing to keep
                raise
            ended = early
    _report(predictor, tracker, source, as_json=as_json)
    if out is not None and not as_json:
        typer.echo(f"video: {out}")
    if lost:
        typer.echo(f"{counted(len(lost), 'damaged packet')} passed over: frames are missing in {source}.", err=True)
    if isinstance(ended, ImageError):
        typer.echo(f"Error: {ended}", err=True)
        raise typer.Exit(1)
    if last and ended and not is_camera(source):
        typer.echo(f"{source} was not seen to its end: stopped after {last.frame.seconds:.1f} s.", err=True)
        raise typer.Exit(STOPPED)


@contextlib.contextmanager
def _recording(out: Path | None, threshold: float) -> Iterator[Callable[[Followed], None]]:
    """Yield what is given every frame: it draws and writes them if ``out`` is given."""
    if out is None:
        yield lambda one: None
        return
    from perceived.video import Recorder, annotate

    with atomic_path(out) as partial, Recorder(partial) as recorder:
        yield lambda one: recorder.write(annotate(one, threshold), one.frame.seconds)


def _report(predictor: Predictor, tracker: Tracker, source: str, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [track.to_dict(predictor.threshold) for track in tracker.tracks]
    if as_json:
        head = {
            "schema": SCHEMA_VERSION,
            "model": predictor.spec.name,
            "model_sha256": predictor.model_sha256,
            "source": source,
        }
        for row in rows:
            terminal.echo_json(head | row, indent=None)
        return
    terminal.table(
        ("face", "perceived gender", "confidence", "from", "to", "frames"),
        (
            (
                *(row["track"], row["perceived_gender"], f"{confidence(row['confidence'])}%"),
                *(f"{row['first_seconds']:.1f} s", f"{row['last_seconds']:.1f} s", row["frames"]),
            )
            for row in rows
        ),
    )
