"""``perceived predict``: answers for pictures, as rows and as drawings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perceived import rows, sources
from perceived.commands import cluster as on_cluster, remote
from perceived.commands.answering import Output, answer
from perceived.errors import ConfigError
from perceived.tally import Tally

if TYPE_CHECKING:
    from perceived.album import Album
    from perceived.predictor import Predictor

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
    files, folders = ([path for path in some if path is not None] for some in ((target, resume), (annotate, crops)))
    _spare_what_is_read(paths, model, files=files, folders=folders)
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


def _spare_what_is_read(
    words: Iterable[str], model: str, *, files: Collection[Path], folders: Collection[Path]
) -> None:
    """Refuse to write over the model, or where the pictures are: drawings would take their places and their names."""
    drawn = [place for folder in map(sources.real, folders) for place in (folder, *folder.parents)]
    weights = sources.real(model) if os.path.isfile(model) else None  # noqa: PTH113 -- whatever its length
    read = [sources.real(sources.place(word)) for word in words if word != sources.STDIN]
    folders_read = [path for path in read if sources.is_folder(path)]
    read += [path.parent for path in read if not sources.is_folder(path)]
    for target in files:
        if sources.real(target) in drawn:
            raise ConfigError(
                f"Answers cannot be written to {target}: it is to be a folder of what is drawn.",
                mend="--out answers.jsonl --annotate drawn --crops faces",
            )
        is_folder, is_model = sources.is_folder(target), sources.real(target) == weights
        if is_folder or is_model or sources.real(target) in read or target.suffix.lower() in sources.ENDINGS:
            what = "a folder" if is_folder else "the model" if is_model else "the name of a picture"
            raise ConfigError(
                f"Answers cannot be written to {target}: it is {what}.",
                expected="the name of a file for the answers",
                mend="--out answers.jsonl",
            )
    for folder in folders:
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


def _output(*, as_json: bool, as_csv: bool, out: Path | None, resume: Path | None) -> Output:
    if Path("-") in (out, resume):
        option = "--out" if out == Path("-") else "--resume"
        raise ConfigError(f"{option} - names no file.", mend="leave it out, and answers are printed")
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
