"""``perceived predict``: answers for pictures, as rows and as drawings."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perceived import rows, sources
from perceived.commands import cluster as on_cluster
from perceived.commands import remote
from perceived.errors import ConfigError
from perceived.storage import atomic_path, make_folder, storage_errors
from perceived.tally import Tally
from perceived.types import Picture
from perceived.wording import counted

if TYPE_CHECKING:
    from perceived.album import Album
    from perceived.client import Client
    from perceived.predictor import Predictor
    from perceived.resume import Before

Model = Annotated[
    str, typer.Option(metavar="NAME|PATH", help="A model that ships with the package, or an exported ONNX file.")
]
Threshold = Annotated[
    float | None, typer.Option(help="Answer 'uncertain' below this confidence.", show_default="the model's own")
]
AlwaysAnswer = Annotated[bool, typer.Option("--always-answer", help="Never answer 'uncertain'.")]
MinFace = Annotated[
    int | None, typer.Option(help="Leave out faces smaller than this many pixels.", show_default="the detector's own")
]
Device = Annotated[str, typer.Option(metavar="NAME", help="What runs the model: cpu, cuda, coreml or openvino.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where rows go, and how they look: to ``out``, to the end of ``resume``, or to standard output."""

    form: rows.Format
    out: Path | None = None
    resume: Path | None = None


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Pictures, folders of pictures or patterns; - reads one from standard input."
        ),
    ],
    model: Model = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV, one row a face.")] = False,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write there; with --cluster, to this folder.", show_default="print"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.jsonl", help="Add JSON lines to this file; skip what it answers.", show_default=False
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw boxes and labels there.", show_default=False),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cut the faces out there.", show_default=False),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="With --annotate: show where the network looked.")] = False,
    threshold: Threshold = None,
    always_answer: AlwaysAnswer = False,
    no_detect: Annotated[bool, typer.Option("--no-detect", help="Take each picture as one face.")] = False,
    min_face: MinFace = None,
    max_faces: Annotated[
        int | None, typer.Option(help="Answer for the largest faces only, this many.", show_default="all")
    ] = None,
    main_face: Annotated[
        bool, typer.Option("--main-face", help="Answer for one face: the largest, and nearest to the middle.")
    ] = False,
    device: Device = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Pictures worked on at the same time.", show_default="one per processor")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask a server that 'perceived serve' runs.", show_default=False),
    ] = None,
    cluster: on_cluster.Cluster = None,
    workers: on_cluster.Workers = None,
    part_size: Annotated[
        int | None, typer.Option(help="With --cluster: pictures in a file of answers.", show_default="256")
    ] = None,
) -> None:
    """Find the faces in pictures. Print the perceived gender of each; exit with 1 if a picture cannot be read."""
    least = threshold_of(threshold, always_answer=always_answer)
    which = {"min_face": min_face, "max_faces": max_faces, "main_face": main_face}
    target = None if out is None else Path(out)
    if cluster is not None:
        written = {"json": as_json, "csv": as_csv, "resume": resume, "annotate": annotate, "crops": crops}
        tally = on_cluster.predict(
            cluster,
            paths,
            out,
            model=model,
            options={**which, "detect": not no_detect, "threshold": least, "device": device},
            workers=workers,
            part_size=part_size,
            local={**written, "explain": explain, "threads": threads, "server": server},
        )
        _report(tally, out)
        return
    remote.refuse({"workers": workers, "part_size": part_size}, "one process", mend="add --cluster ADDRESS")
    output = _output(as_json=as_json, as_csv=as_csv, out=target, resume=resume)
    _spare_pictures(paths, files=(target, resume), folders=(annotate, crops))
    _spare_model(model, (target, resume))
    if explain and annotate is None:
        raise ConfigError("--explain draws beside annotated pictures.", mend="give --annotate DIR too")
    if server is not None:
        local: dict[str, object] = {
            "model": model != "default",
            "annotate": annotate,
            "crops": crops,
            "no_detect": no_detect,
        }
        local |= {**which, "threads": threads, "device": device != "cpu"}
        with remote.connect(server, threshold=least, local=local) as client:
            _report(answer(client, paths, output, None), out or resume)
        return
    from perceived.predictor import Predictor

    predictor = Predictor(
        model,
        detect=not no_detect,
        threshold=least,
        **which,  # type: ignore[arg-type]
        device=device,
        threads=threads,
    )
    _report(answer(predictor, paths, output, _album(predictor, annotate, crops, explain=explain)), out or resume)


def _report(tally: Tally, target: str | Path | None) -> None:
    """Say what became of the pictures, and exit with 1 if one could not be read."""
    if target is not None:
        typer.echo(f"answers: {target}: {tally}")
    if tally.unreadable or tally.unreadable_before:
        raise typer.Exit(1)


def threshold_of(threshold: float | None, *, always_answer: bool) -> float | None:
    """Return the threshold that the two options mean together, or raise :class:`ConfigError`."""
    if always_answer and threshold is not None:
        raise ConfigError("--always-answer and --threshold contradict each other.", mend="give one of them")
    return 0.0 if always_answer else threshold


def answer(predictor: Predictor | Client, words: Iterable[str], output: Output, album: Album | None) -> Tally:
    """Write a row, and what is to be drawn, for every picture that ``words`` mean.

    Raises:
        ConfigError: there is no picture.
    """
    words = list(words)
    find = partial(sources.find, without=album.folders if album else ())
    before = _before(output, predictor, lambda: {one.location for one in find(words)})
    done = before.answered - {sources.STDIN}  # it is another picture each time
    tally = Tally(answered_before=len(done), unreadable_before=before.unreadable)
    if album and done:
        typer.echo(f"{counted(len(done), 'picture')} answered before: not drawn again.", err=True)
    found = _some(find(words), words)
    if album:  # of all, and those of earlier runs first, so that drawings keep their names
        earlier = (one for one in find(words) if one.location in before.sources) if before.sources else ()
        found = sources.distinct(chain(earlier, (one for one in found if one.location not in before.sources)))
    for word in words:
        if sources.is_folder(Path(word)) and next(find([word]), None) is None:
            typer.echo(f"There is no picture in {rows.on_one_line(word)}.", err=True)
    fresh = (one for one in found if one.location not in done)
    labels = predictor.labels
    total = sum(1 for one in find(words) if one.location not in done) if _has_bar(output) else None
    with _writing(output, labels) as write, _progress(total) as progress:
        for picture in _answers(predictor, fresh, album):
            write(rows.rows(output.form, picture, labels))
            if picture.error is not None and output.form is rows.Format.TABLE:
                typer.echo(rows.on_one_line(_complaint(picture.source, picture.error)), err=True)
            tally.add(picture)
            progress(tally.pictures)
    return tally


def _complaint(source: str, error: str) -> str:
    """Name the picture, unless the error does, in one line."""
    told = " ".join(error.split("\n"))
    return told if source in error else f"{source}: {told}"


def _answers(predictor: Predictor | Client, found: Iterable[sources.Found], album: Album | None) -> Iterator[Picture]:
    """Answer for the pictures, and draw them where there is an album."""
    if album is None:
        yield from predictor.stream(*_named(found))
        return
    from perceived.predictor import Predictor

    assert isinstance(predictor, Predictor)
    found, drawn = tee(found)
    for one, (picture, image) in zip(drawn, predictor.stream_with_pixels(*_named(found)), strict=True):
        if image is not None:
            album.add(one.relative, picture, image)
        yield picture


def _named(found: Iterable[sources.Found]) -> tuple[Iterator[str | bytes], Iterator[str]]:
    """Return the pictures to read, and beside them what they are called."""
    read, named = tee(found)
    pictures = (_stdin() if one.location == sources.STDIN else one.location for one in read)
    return pictures, (one.location for one in named)


def _stdin() -> bytes:
    from perceived.images import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _some(found: Iterator[sources.Found], words: Iterable[str]) -> Iterator[sources.Found]:
    """Return the pictures, or complain that there is none, before anything is written."""
    first = next(found, None)
    if first is None:
        raise ConfigError(
            f"There is no picture in {', '.join(words)}.",
            expected=f"files that end with {', '.join(sorted(sources.ENDINGS))}",
            mend="give the files themselves if they are pictures with other endings",
        )
    return chain([first], found)


def _spare_pictures(words: Iterable[str], *, files: Iterable[Path | None], folders: Iterable[Path | None]) -> None:
    """Refuse to write where the pictures are: drawings carry their names, and would take their places."""
    read = [sources.real(sources.place(word)) for word in words if word != sources.STDIN]
    folders_read = [path for path in read if sources.is_folder(path)]
    read += [path.parent for path in read if not sources.is_folder(path)]
    for target in (path for path in files if path is not None):
        is_folder = sources.is_folder(target)
        if is_folder or sources.real(target) in read or target.suffix.lower() in sources.ENDINGS:
            what = "a folder" if is_folder else "the name of a picture"
            raise ConfigError(
                f"Answers cannot be written to {target}: it is {what}.",
                expected="the name of a file for the answers",
                mend="--out answers.jsonl",
            )
    for folder in (path for path in folders if path is not None):
        if not sources.is_folder(folder):
            continue
        place = sources.real(folder)
        if place in read:
            raise ConfigError(
                f"The pictures are in {folder}: drawings of the same names would take their places.",
                expected="another folder for what is drawn",
                mend="--annotate drawn, --crops faces",
            )
        first = next(sources.find([os.fspath(folder)]), None)
        if first and any(path in place.parents for path in folders_read):
            from perceived.album import is_drawing

            if not is_drawing(Path(first.location)):
                raise ConfigError(
                    f"{folder} lies among the pictures to read and holds some: what is drawn there is not answered.",
                    expected="a folder elsewhere, an empty one, or one of earlier drawings",
                    mend="--annotate ../drawn, --crops ../faces",
                )


def _spare_model(model: str, files: Iterable[Path | None]) -> None:
    """Refuse to write answers over the model that gives them."""
    for target in (path for path in files if path is not None):
        if Path(model).is_file() and sources.real(target) == sources.real(model):
            raise ConfigError(
                f"Answers cannot be written to {target}: it is the model.",
                expected="the name of a file for the answers",
                mend="--out answers.jsonl",
            )


def _output(*, as_json: bool, as_csv: bool, out: Path | None, resume: Path | None) -> Output:
    if resume is None:
        return Output(form=rows.choose(as_json=as_json, as_csv=as_csv, out=out), out=out)
    if out is not None or as_csv or resume.suffix.lower() == ".csv":
        raise ConfigError(
            "--resume OUT.jsonl writes JSON lines to that file: --out and --csv contradict it.",
            mend="leave them out, and name the file OUT.jsonl",
        )
    return Output(form=rows.Format.JSON, resume=resume)


def _album(predictor: Predictor, annotate: Path | None, crops: Path | None, *, explain: bool) -> Album | None:
    if annotate is None and crops is None:
        return None
    from perceived.album import Album

    if explain:
        predictor.check_explains()
    return Album(annotate, crops, explain=predictor.explain if explain else None)


def _before(output: Output, predictor: Predictor | Client, asked: Callable[[], Collection[str]]) -> Before:
    from perceived.resume import Before, answered

    return Before() if output.resume is None else answered(output.resume, predictor, asked)


@contextlib.contextmanager
def _writing(output: Output, labels: tuple[str, ...]) -> Iterator[Callable[[str], object]]:
    """Yield what takes rows: a new file comes whole or not at all, a resumed one grows line by line."""
    with contextlib.ExitStack() as stack:
        if output.resume is not None:
            from perceived.resume import hold

            stack.enter_context(storage_errors(output.resume))
            make_folder(output.resume.parent)
            file = stack.enter_context(open(output.resume, "a", encoding="utf-8", buffering=1))
            hold(file, output.resume)
            write = file.write
        elif output.out is not None:
            unfinished = stack.enter_context(atomic_path(output.out))
            write = stack.enter_context(open(unfinished, "w", encoding="utf-8", newline="")).write
        else:
            write = _print
        write(rows.head(output.form, labels))
        yield write


def _print(text: str) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with storage_errors(Path("standard output")):
        typer.echo(text, nl=False)
    return len(text)


def _has_bar(output: Output) -> bool:
    """Say whether there is a terminal for a bar, on which no rows are printed."""
    printed = output.out is None and output.resume is None and sys.stdout.isatty()
    return sys.stderr.isatty() and not printed


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """Yield what is told of finished pictures: it draws a bar if there is a ``total``."""
    if total is None:
        yield lambda done: None
        return
    from perceived.progress import counter

    with counter("answering", quiet=False) as tick:
        yield lambda done: tick and tick(done, total)
