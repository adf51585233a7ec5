"""An audit written down: the JSON, a page to read, and Markdown for a model card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceived import gaps, storage
from perceived.errors import DataError
from perceived.pages import audit_charts, charts, markdown, report
from perceived.spec import LABELS
from perceived.wording import signed

CHARTS = 8
"""Groupings that get a chart of their own, beside that of all attributes; every one gets a table."""
TOGETHER = 3
"""More attributes than this share one section of the page."""

GAP_NAMES = {
    "accuracy_gap": "accuracy",
    "equalized_odds_difference": "equalised odds",
    "demographic_parity_difference": "demographic parity",
    "abstention_gap": "abstention",
    "missed_gap": "missed faces",
}


def write(out: Path, found: Mapping[str, Any], *, title: str) -> None:
    """Write ``audit.json``, ``audit.html``, ``audit.md`` and a PNG of every chart into ``out``.

    Charts of an audit that stood there before, by other columns, are removed.
    """
    drawings = _draw(found)
    charts.remove(out, set(_charts_before(out)) - drawings.keys())
    svgs = report.save_charts(out, drawings)
    storage.write_json(out / "audit.json", {"title": title, **found})
    storage.write_text(out / "audit.md", as_markdown(found, title=title))
    flags = [grouping["by"] for grouping in audit_charts.attributes(found["groupings"])]
    start = _scale_start(found)
    context = {
        "title": title,
        "found": found,
        "svgs": svgs,
        "chart_of": chart_name,
        "flags": flags,
        "together": len(flags) > TOGETHER,
        "tested": [name for name in GAP_NAMES if any(g["gaps"][name]["p"] is not None for g in found["groupings"])],
        "shown": audit_charts.MOST,
        "gap_names": GAP_NAMES,
        "worst": found["worst"],
        "told": gaps.told,
        "start": start,
        "place": report.place_from(start),
    }
    report.write(out / "audit.html", "audit.html", context)


def _charts_before(out: Path) -> Iterator[str]:
    """Yield the names that the charts of an audit in a folder may have."""
    with contextlib.suppress(DataError, KeyError, TypeError):  # none, or nothing of ours
        for grouping in storage.read_json(out / "audit.json")["groupings"]:
            yield chart_name(grouping["by"])
        yield "attributes"


def chart_name(by: Sequence[str]) -> str:
    """Return the name of a grouping's chart, safe as a file name, and another for every grouping."""
    safe = "by-" + "-".join("".join(c if c.isalnum() else "_" for c in name) for name in by)
    return safe if safe == "by-" + "-".join(by) else f"{safe}-{storage.sha256_json(list(by))[:6]}"


def as_markdown(found: Mapping[str, Any], *, title: str) -> str:
    """Return the audit as Markdown tables: gaps, every single grouping, and the worst and smallest of intersections."""
    lines = [f"# {markdown.plain(title)}", "", *[f"- {markdown.plain(note)}" for note in found["notes"]], ""]
    if said := missed(found):
        lines += [said, ""]
    lines += _table(found, [found["overall"]])
    lines += ["", "## Gaps", "", f"p-values by permutation, after {found['method']['correction']}.", ""]
    heads = ("by", "gap", "value", "lowest", "highest", "groups", "p", "p, corrected")
    lines += markdown.table(heads, [row for grouping in found["groupings"] for row in _gap_rows(grouping)])
    for grouping in found["groupings"]:
        lines += ["", *by_group(found, grouping, level="##")]
    lines += ["", "## Left out", ""]
    lines += [f"- {why}: {count:,}" for why, count in found["excluded"].items()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def missed(found: Mapping[str, Any]) -> str:
    """Return a sentence about the rows in which no face was found; nothing where there are none."""
    share, rows, correct = found["overall"]["missed"], found["rows"], found["overall"]["correct"]
    if not share["value"]:
        return ""
    count = round(share["value"] * rows)
    return f"In {count:,} of {rows:,} rows no face was found; with these as errors {correct['value']:.1%} are right."


def by_group(found: Mapping[str, Any], grouping: Mapping[str, Any], *, level: str) -> list[str]:
    """Return a heading and a table of the groups of an audit's grouping; of many, the worst, and all that are small."""
    groups = audit_charts.shown(grouping["groups"])
    groups = [*groups, *(group for group in grouping["groups"] if group["small"] and group not in groups)]
    heading = " × ".join(grouping["by"])
    if len(groups) < len(grouping["groups"]):
        heading += f" ({len(groups)} of {len(grouping['groups'])} groups: those read worst, and those of few rows)"
    return [f"{level} By {markdown.plain(heading)}", "", *_table(found, groups)]


def _draw(found: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    drawings = {}
    flags = audit_charts.attributes(found["groupings"])
    if flags:
        height = 0.7 + 0.3 * len(flags)
        drawings["attributes"] = (
            charts.chart(audit_charts.with_and_without(flags), height=height, width=8),
            "Accuracy with and without each attribute",
        )
    single = [g for g in found["groupings"] if len(g["by"]) == 1 and g not in flags]
    paired = [g for g in found["groupings"] if len(g["by"]) > 1]
    for grouping in (*single, *paired)[:CHARTS]:
        groups = audit_charts.shown(grouping["groups"])
        if not groups:
            continue
        height = 0.8 + audit_charts.ROW * len(groups)
        heading = f"By {' × '.join(grouping['by'])}"
        if len(groups) < len(grouping["groups"]):
            heading += f": the {len(groups)} groups read worst of {len(grouping['groups'])}"
        drawings[chart_name(grouping["by"])] = (
            charts.chart(audit_charts.rates_by_group(groups), height=height, width=8),
            heading,
        )
    return drawings


def _gap_rows(grouping: Mapping[str, Any]) -> list[tuple[str, ...]]:
    by = " × ".join(grouping["by"])
    return [
        (by, GAP_NAMES[name], report.points(gap["value"]).replace("+", ""), gap["lowest"], gap["highest"],
         f"{gap['of']} of {len(grouping['groups'])}", report.p_value(gap["p"]), report.p_value(gap["p_holm"]))
        for name, gap in grouping["gaps"].items()
        if gap["value"]
    ]  # fmt: skip


def _table(found: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of some groups; where nobody in the audit abstains, it has no column for it.

    Overconfidence, unlike calibration error, is not the larger for a smaller group.
    """
    abstained = ("abstained",) if found["overall"]["abstention"]["value"] else ()
    heads = ("group", "n", "accuracy", *(f"recall, {label}" for label in LABELS), *abstained, "overconfidence")
    rows = []
    for group in groups:
        rates = [group["accuracy"], *group["recall"].values(), *([group["abstention"]] if abstained else [])]
        size = f"{group['n']:,}{' (few)' if group['small'] else ''}"
        over = group["overconfidence"]["value"]
        rows.append((group["name"], size, *map(_interval, rates), signed(None if over is None else over * 100, 1)))
    return markdown.table(heads, rows)


def _interval(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "–"
    few = " (few)" if rate.get("few") else ""
    if rate["low"] is None or rate["high"] is None:
        return f"{report.percent(rate['value'])} (–){few}"
    return f"{report.percent(rate['value'])} ({rate['low'] * 100:.1f}–{rate['high'] * 100:.1f}){few}"


def _scale_start(found: Mapping[str, Any]) -> float:
    groups = [group for grouping in found["groupings"] for group in grouping["groups"] if not group["small"]]
    lows = [group["accuracy"]["low"] for group in [*groups, found["overall"]] if group["accuracy"]["low"] is not None]
    return charts.scale_start(min(lows, default=0.5))
