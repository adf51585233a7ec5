"""``perceived audit``: how well each group of people is read, by any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import listed, meanings
from perceived.errors import ConfigError
from perceived.rows import on_one_line
from perceived.wording import counted


def audit(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS|RUN|ONNX",
            help="CSV (id,perceived_gender[,probability_male]), JSON lines of 'perceived predict', or a model.",
            show_default=False,
        ),
    ],
    work: Annotated[
        Path | None,
        typer.Argument(metavar="[WORK]", help="Take pictures, labels and groups from here.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Take labels and groups from this file: id,label,…", show_default=False),
    ] = None,
    groups: Annotated[
        str, typer.Option(metavar="LIST", help="Columns to group by, such as race,age,race*age; or all.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder for audit.json, audit.html and audit.md.")] = Path("audit"),
    on: Annotated[str, typer.Option(help="Which pictures of WORK: train, val or test.")] = "test",
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Exit with 1 if, for example, worst_group_accuracy<0.9."),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="WORD=LABEL", help="What a word of the files means: M=male, ?=none."),
    ] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="Column of ids, in both tables.")] = "id",
    label_column: Annotated[str, typer.Option(metavar="NAME", help="Column of labels in --labels.")] = "label",
    small: Annotated[int, typer.Option(min=1, help="Flag groups of fewer rows, and keep them out of gaps.")] = 30,
    always_answer: Annotated[bool, typer.Option("--always-answer", help="A model never answers 'uncertain'.")] = False,
    title: Annotated[
        str | None, typer.Option(help="Title of the report.", show_default="the name of what is audited")
    ] = None,
) -> None:
    """Audit anybody's answers by group. The report has intervals, gaps and tests."""
    if (work is None) == (labels is None):
        raise ConfigError(
            "An audit needs labels, from one place.", mend="give either --labels LABELS.csv or a folder WORK"
        )
    from perceived import answers, audit as auditing, criteria, storage
    from perceived.pages import audit as audit_page

    is_model = answers.is_model(source)
    if labels is not None and is_model:
        raise ConfigError(
            f"{source} is a model, which answers for pictures, and --labels gives none.",
            mend="give a folder WORK in place of --labels, or what 'perceived predict --json' answered",
        )
    if labels is not None and (always_answer or on != "test"):
        raise ConfigError("--on and --always-answer belong to a folder WORK, and --labels was given.", mend="drop them")
    if work is not None and label_column != "label":
        raise ConfigError("--label-column belongs to --labels, and WORK was given.", mend="drop it")
    if is_model and id_column != "id":
        raise ConfigError(f"--id-column is for tables, and {source} is a model.", mend="drop it")
    if always_answer and source.exists() and not is_model:
        raise ConfigError(f"--always-answer is for models, and {source} holds answers.", mend="drop it")
    asked = listed(groups)
    named = [by for by, *_ in map(criteria.parse, fail_if or []) if by]
    meant = meanings("--map", words, answers.MEANINGS)
    storage.check_folder(out)
    if work is not None:
        table, reading = auditing.audit_workspace(
            source, work, on=on, always_answer=always_answer, words=meant, by=[*asked, *named], id_column=id_column
        )
    else:
        assert labels is not None
        table, reading = auditing.audit_files(
            source, labels, words=meant, id_column=id_column, label_column=label_column
        )
    found = auditing.audit(table, asked, reading=reading, small=small)
    passed = auditing.judge(found, fail_if or [])
    audit_page.write(out, found, title=title or _title(source, on if work else None))
    _show(found)
    typer.echo(f"report: {out / 'audit.html'}")
    if not passed:
        raise typer.Exit(1)


def _title(source: Path, on: str | None) -> str:
    return f"Audit of {source.name}" + (f" on the {on} pictures" if on else "")


def _show(found: dict) -> None:  # type: ignore[type-arg]
    """Print the figures a reader asks for first, what was left out, and the verdicts."""
    from perceived import gaps

    names = ["accuracy", "abstention", "calibration_error"]
    if found["overall"]["missed"]["value"]:
        names = ["correct", "missed", *names]
    rates = terminal.rates({name: found["overall"][name] for name in names})
    terminal.table((counted(found["rows"], "row"), "value", "95 % from", "to"), rates)
    for kind, row in found["worst"].items():
        if row:
            luck = "" if row["if_alike"] is None else f", {row['if_alike']:.4f} if all were alike"
            who = on_one_line(f"{row['by']}: {gaps.told(row)}")
            typer.echo(f"worst {kind} {row['value']:.4f}  {who}; lowest of {row['of']}{luck}")
    for why, count in found["excluded"].items():
        typer.echo(f"left out: {why}: {count:,}")
    for note in found["notes"]:
        typer.echo(on_one_line(note))
    for row in found["criteria"]:
        value = "unknown" if row["value"] is None else f"{row['value']:.6g}"
        typer.echo(f"{'FAILED' if row['failed'] else 'passed'}: {row['criterion']}  found {value}  {row['where']}")
