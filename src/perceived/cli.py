"""The command line: thin commands, each of which calls one function of the stage it is named after.

Commands import what they need when they run, so that ``perceived predict`` works without the
packages of the extra ``train``, and ``perceived --help`` is quick.
"""

from __future__ import annotations

import enum
import itertools
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from perceived import __version__, terminal
from perceived.commands import audit as audit_command
from perceived.commands import average as average_command
from perceived.commands import card as card_command
from perceived.commands import compare as compare_command
from perceived.commands import labels as labels_command
from perceived.commands import predict as predict_command
from perceived.commands import push as push_command
from perceived.commands import quantize as quantize_command
from perceived.commands import robustness as robustness_command
from perceived.commands import serve as serve_command
from perceived.commands import train as train_command
from perceived.commands import tune as tune_command
from perceived.commands import video as video_command
from perceived.commands.options import Seed, Settings, Work, listed
from perceived.errors import ConfigError, MissingExtraError, PerceivedError
from perceived.extras import needed_for

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Dataset(enum.StrEnum):
    CELEBA = "celeba"


class Check(enum.StrEnum):
    SIZE = "size"
    DECODE = "decode"


def main() -> None:
    """Run the command line; what the caller can mend, a full disk included, ends with exit code 2."""
    _open_streams()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asked = f"'perceived {command}'"
    try:
        _refuse_empty(sys.argv[1:])
        with needed_for(asked, extra=command):
            app()
    except MissingExtraError as error:
        of_a_module = error.feature.startswith("perceived.")  # which a user of commands knows nothing of
        _fail(MissingExtraError(asked, error.extra) if of_a_module else error)
    except PerceivedError as error:
        _fail(error)


def _open_streams() -> None:
    """Give a process that was started without one of its streams an empty one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for as long as we run


def _refuse_empty(words: list[str]) -> None:
    """Refuse a word that is empty, which is what is left of an unset variable: as a path it would mean this folder."""
    for before, word in itertools.pairwise(["", *words]):
        option, _, value = word.partition("=")
        if not word or (option.startswith("--") and option != word and not value):
            where = option or (before if before.startswith("--") else "")
            raise ConfigError(
                f"An empty word was given{where and ' to ' + where}.",
                mend="check the variable it came from, or give . for this folder",
            )


def _fail(error: PerceivedError) -> NoReturn:
    typer.echo(f"Error: {error}", err=True)
    sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perceived {__version__}")
        raise typer.Exit


@app.callback()
def perceived(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, audit and serve a classifier of perceived gender from face photographs."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the study leaves behind.")] = Path("demo"),
    settings: Settings = None,
    photograph: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE",
            help="Answer for this photograph at the end; may be repeated.",
            show_default="scikit-image's astronaut, where that is installed",
        ),
    ] = None,
) -> None:
    """Run the whole study on faces of nobody. It takes a few minutes, and goes on if interrupted."""
    from perceived import study

    typer.echo(f"report: {study.run(out, settings=settings or [], photographs=photograph)}")


@app.command("demo-data")
def demo_data(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write, laid out as CelebA is.", show_default=False)
    ],
    count: Annotated[int, typer.Option(help="Number of pictures.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Write a CelebA of faces of nobody. They are generated, and the same for the same seed."""
    from perceived import demo_faces
    from perceived.progress import counter

    with counter("drawing faces", quiet=False) as progress:
        written = demo_faces.write(out, count=count, seed=seed, progress=progress)
    typer.echo(f"demo set: {written}")


@app.command()
def download(
    dataset: Annotated[Dataset, typer.Argument(metavar="DATASET", help="Which dataset: celeba.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("celeba"),
) -> None:
    """Download a dataset. An interrupted download goes on where it stopped."""
    from perceived.data import download as downloads

    assert dataset is Dataset.CELEBA
    typer.echo(f"{dataset}: {downloads.celeba(to)}")


@app.command()
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
    seed: Seed = 0,
) -> None:
    """Read datasets into one table. Report what is amiss in them.

    Where a dataset sets no validation pictures aside, a tenth of its training pictures is held out.
    """
    from perceived.data import labels, table
    from perceived.progress import counter

    words = labels.parse(label or [])
    with counter("checking pictures", quiet=False) as progress:
        report = table.prepare(
            data,
            out,
            strict=strict,
            check=check.value,
            annotations_only=annotations_only,
            words=words,
            seed=seed,
            progress=progress,
        )
    terminal.show(report.table())


@app.command()
def explore(
    work: Work,
    picture: Annotated[str, typer.Option(help="Picture to show, by its id.")] = "000409.jpg",
    attributes: Annotated[
        str, typer.Option(help="Attributes to show with it, separated by commas.")
    ] = "Bald,Male,Young",
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="WORK/explore")] = None,
) -> None:
    """Draw a dataset's pictures and charts. Fit the baseline that never looks at a picture."""
    from perceived import explore as exploration

    exploration.explore(work, picture=picture, attributes=listed(attributes), out=out)
    typer.echo(f"report: {(out or work / 'explore') / 'report.html'}")


@app.command()
def split(
    work: Work,
    train: Annotated[int, typer.Option(help="Pictures to train on.")] = 20_000,
    val: Annotated[int, typer.Option(help="Pictures to validate on.")] = 5_000,
    test: Annotated[int, typer.Option(help="Pictures to test on.")] = 5_000,
    everything: Annotated[bool, typer.Option("--all", help="Take every picture of each partition.")] = False,
    balance: Annotated[bool, typer.Option(help="Take as many female as male.")] = True,
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

    sizes = {"train": train, "val": val, "test": test}
    drawn = splits.make(
        work,
        **sizes,
        everything=everything,
        balance=balance,
        weigh_by=listed(weigh_by),
        boost=dict(_factor(one) for one in boost or ()),
        seed=seed,
    )
    counts = drawn.group_by("split", "label").len().sort("split", "label")
    terminal.table(("split", "label", "pictures"), counts.iter_rows())


@app.command()
def augment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of a face.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe whose training sees such pictures.")] = "study",
    out: Annotated[
        Path | None, typer.Option(help="PNG to write.", show_default="NAME-augmented.png in this folder")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw ten variations of a picture, beside the original: what a recipe's training sees of it."""
    from perceived import recipes as known
    from perceived.data import augment as augmentation

    target, chosen = out or Path(f"{image.stem}-augmented.png"), known.get(recipe)
    augmentation.preview(image, target, augmentation=chosen.augmentation, degradation=chosen.degradation, seed=seed)
    typer.echo(f"preview: {target}")


@app.command()
def backbones() -> None:
    """List the pretrained networks. Say where weights come from, and under which licence."""
    from perceived import packaged_weights

    known = packaged_weights.known()
    rows = ((r["backbone"], f"{r['package']} {r['version']}", r["license"], r["sha256"][:12]) for r in known)
    terminal.table(("backbone", "package", "licence", "sha256"), rows)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this recipe's settings.")] = None,
) -> None:
    """List the training recipes. With a name, the settings 'train --set' can change."""
    from perceived import recipes as known

    if name is None:
        terminal.table(("recipe", "what"), known.summaries().items())
        return
    for setting in known.settings(known.get(name)):
        typer.echo(setting)


app.command()(train_command.train)
app.command()(average_command.average)


app.command()(tune_command.tune)


@app.command()
def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="RUN_OR_ONNX", help="A RUN folder or an exported ONNX file.", show_default=False)
    ],
    work: Work,
    on: Annotated[str, typer.Option(help="Which pictures of the split: train, val or test.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="beside the model")] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Score also without these ids, such as labels.csv.", show_default=False),
    ] = None,
) -> None:
    """Score a model. The report has intervals, calibration and the most confident mistakes."""
    from perceived import evaluate as evaluation
    from perceived.models import report_folder

    folder = out or report_folder(model, f"evaluation-{on}")
    found = evaluation.evaluate(model, work, on=on, out=folder, exclude=exclude)
    terminal.table((f"on {on}", "value", "95 % from", "to"), terminal.rates(found["metrics"]))
    if cleaned := found["cleaned"]:
        heads = (f"without {cleaned['excluded']:,}", "value", "95 % from", "to")
        terminal.table(heads, terminal.rates(cleaned["metrics"]))
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"report: {folder / 'report.html'}")


app.command()(audit_command.audit)
app.command()(robustness_command.robustness)
app.command()(compare_command.compare)
app.command()(labels_command.labels)
app.command()(card_command.card)
app.command()(push_command.push)


@app.command()
def calibrate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An ONNX file, or a shipped model's name.", show_default=False)
    ],
    work: Work,
    on: Annotated[str, typer.Option(help="Which pictures of the split: train, val or test.")] = "val",
    target_error: Annotated[
        float, typer.Option(help="Share of the given answers that may be wrong; below it, 'uncertain'.")
    ] = 0.03,
    certainty: Annotated[
        float, typer.Option(help="How certainly that holds of other pictures like these. 0: of these alone.")
    ] = 0.95,
    mirror_below: Annotated[
        float | None,
        typer.Option(
            metavar="LOGITS",
            help="Look at a face's mirror image too where its logits are closer than this. 0: never.",
            show_default="the model's own",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT.onnx", help="File to write.", show_default="MODEL-calibrated.onnx")
    ] = None,
) -> None:
    """Refit a model's confidence and its threshold to labelled pictures. Write them into a new file."""
    from perceived import calibrate as calibration

    found = calibration.calibrate(
        model, work, on=on, target_error=target_error, certainty=certainty, mirror_below=mirror_below, out=out
    )
    terminal.table((f"on {on}", "before", "after"), terminal.calibration(found))
    chosen = found["threshold"]
    typer.echo(f"{chosen['coverage']:.1%} of the pictures are answered, {chosen['error']:.2%} of those wrongly")
    if found["mirrored"]["below"]:
        typer.echo(f"of {found['mirrored']['share']:.1%} the mirror image was looked at too")
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"model: {found['file']}\nreport: {found['report']}")


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder that 'perceived train' wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="ONNX file to write.", show_default=False)],
    store: Annotated[
        str,
        typer.Option(
            metavar="TYPE", help="Keep the weights as float32, float16 (half the space) or int8 (a quarter of it)."
        ),
    ] = "float32",
) -> None:
    """Write a run's best model as one ONNX file. It is checked against the run's own answers."""
    from perceived import export as exporter

    typer.echo(f"model: {exporter.export(run, out, store=store)}")


app.command()(quantize_command.quantize)
app.command()(predict_command.predict)
app.command()(video_command.video)


app.command()(serve_command.serve)


@app.command()
def info(
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Print what this model says about itself.", show_default=False),
    ] = None,
) -> None:
    """Print what is installed here: versions, weights, devices. With --model, what that model says about itself."""
    from perceived import installed

    if model is not None:
        terminal.echo_json(installed.model(model))
        return
    terminal.table(("what", "version"), installed.describe().items())
    terminal.table(("weights", "bytes", "sha256", "as packed"), installed.weights())
    terminal.table(("device", "here"), installed.devices())


def _factor(text: str) -> tuple[str, float]:
    """Read ``COLUMN=VALUE:TIMES``."""
    group, _, times = text.rpartition(":")
    try:
        return group, float(times)
    except ValueError as error:
        raise ConfigError(f"--boost {text} gives no number.", expected="COLUMN=VALUE:TIMES, as race=Black:2") from error
