"""The page of results is what docs/results holds, and no result lacks what a reader needs to trust it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

RESULT = {
    "what": "InceptionV3 on 5,000 pictures",
    "config": {"recipe": "fast"},
    "metrics": {
        "accuracy": {"value": 0.9841, "low": 0.98, "high": 0.988},
        "image_steps": 70_000,
        "f1_macro": 0.984,
        "milliseconds": 3.25,
    },
    "command": "perceived train work --out run\nperceived evaluate run work",
    "date": "2026-11-24",
    "commit": "6ac8caf0123456789",
    "machine": "two cores",
}


@pytest.fixture(scope="module")
def results(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "docs" / "make_results.py"))


def test_the_page_of_results_is_fresh(results: dict[str, Any]) -> None:
    written = results["TARGET"].read_text(encoding="utf-8")
    assert written == results["render"](results["load"]()), "docs/results.md is stale: make docs"


def test_figures_are_rendered_with_interval_and_target(results: dict[str, Any]) -> None:
    targets = {"accuracy": ">= 0.983", "image_steps": "<= 60000"}
    page = results["render"]({"celeba-fast": {**RESULT, "targets": targets, "notes": ["The mirror image helps."]}})
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    assert "**98.41 %** (98.00 %–98.80 %)" in page
    assert "| f1 macro | 98.40 % |" in page
    assert "image steps 70,000" in page
    assert "| milliseconds | 3.25 |" in page
    assert "accuracy ≥ 98.30 %: reached, within chance<br>image steps ≤ 60,000: missed" in page
    assert "2026-11-24, commit 6ac8caf01234, two cores." in page
    assert "```sh\nperceived train work --out run\nperceived evaluate run work\n```" in page
    assert "The mirror image helps." in page


def test_tables_are_rendered_with_groups_and_gaps(results: dict[str, Any]) -> None:
    rows = [
        {"model": "ours", "worst race accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "of": "Black", "n": 1200}},
        {"model": "theirs", "faces": "left out: no weights | at all"},
    ]
    page = results["render"]({"peers": {**RESULT, "tables": [{"title": "Beside others", "rows": rows}]}})
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    assert "**Beside others**\n\n| model | worst race accuracy | faces |\n| --- | --- | --- |" in page
    assert "| ours | **90.00 %** (80.00 %–95.00 %), Black, n = 1,200 | – |" in page
    assert "| theirs | – | left out: no weights \\| at all |" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": ""}, "'machine' is missing"),
        ({"metrics": None}, "'metrics' is missing"),
        ({"date": "yesterday"}, "yesterday"),
        ({"targets": {"speed": ">= 3"}}, "a target for 'speed'"),
    ],
)
def test_a_result_without_what_a_reader_needs_is_refused(
    results: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "celeba-fast.json").write_text(json.dumps(RESULT | change))
    with pytest.raises(ValueError, match=message):
        results["load"](tmp_path)
    (tmp_path / "celeba-fast.json").write_text(json.dumps(RESULT))
    assert list(results["load"](tmp_path)) == ["celeba-fast"]


def test_nothing_measured_is_said(results: dict[str, Any]) -> None:
    assert "Nothing has been recorded yet." in results["render"]({})


def test_the_readme_and_the_ethics_tell_the_figures_of_the_results(results: dict[str, Any], root: Path) -> None:
    found = results["load"]()
    of = {name: found[name]["metrics"] for name in found}
    default, served, labelled, answered, unseen = (
        of[name] for name in ("default", "serve-load", "celeba-labels", "predict-speed", "unseen")
    )
    missed = "accuracy_missed_faces_as_errors"
    rows = _rows(found["audit"], "default, by age and gender")
    ages = {row["age"]: row["accuracy"]["value"] for row in rows}
    girls = next(row["accuracy, female"]["value"] for row in rows if row["age"] == "0-2")
    unseen_right = 1 - unseen["default FairFace error of those answered"]["value"]
    readme = [
        f"right for {_percent(default[missed]['value'])} of 5,000 of FairFace's val files",
        f"and {_percent(default['celeba_test_' + missed]['value'])} of 6,147 of CelebA's test pictures",
        f"but for {_percent(ages['0-2'], 0)} of babies ({_percent(girls, 0)} of the girls)",
        f"and {_percent(ages['3-9'], 0)} of children",
        f"for {_percent(default['worst_race_and_label_accuracy']['value'], 0)} of Black women",
        f"and {_percent(1 - default['error_at_threshold'])} of its other answers are right",
        (
            f"right for {_percent(of['research']['fairface_' + missed]['value'])} of FairFace's and "
            f"{_percent(of['research'][missed]['value'])} of CelebA's."
        ),
        f"calibration error {default['calibration_error']['value']:.3f}; the best of three others",
        (
            f"| {_percent(unseen['default UTKFace accuracy']['value'])}; at its threshold "
            f"{_percent(unseen['default UTKFace answered_at']['value'])} are answered, "
            f"{_percent(unseen['default UTKFace error of those answered']['value'])} of those wrongly |"
        ),
        f"right for {_percent(default[missed]['value'])} of 5,000 FairFace photographs",
        f"for {_percent(of['peers']['fairface_accuracy_of_best_peer']['value'])}. It fails",
        f"nothing was chosen by, {_percent(unseen_right)} of its other answers are right",
        f"({_percent(unseen_right)} of those to files that nothing was chosen by)",
        (
            f"all {found['detection']['measured']['photographs']['turned by 0']['found']} people found, "
            f"{round(default['street_photographs_right']['value'] * 39)} read as labelled"
        ),
        f"| {answered['folder_pictures_per_second']:.0f} pictures/s in {answered['folder_peak_mebibytes']} MiB;",
        f"to the first answer {answered['cold_start_seconds']:.1f} s |",
        f"| {served['requests_times_the_loop']} times a single-threaded loop",
    ]
    for recipe in ("fast", "best"):
        accuracy = of[recipe]["accuracy"]
        interval = f"{100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f}"
        readme.append(f"| {_percent(accuracy['value'])} on test ({interval};")
    backbones = ("inception_v3@Mixed_6e", "mobilenetv2_100", "inception_v3", "efficientnet_lite0")
    readme += [f"`{name}` {_percent(of['comparison'][f'accuracy {name}']['value'])}" for name in backbones]
    ethics = [
        f"estimates {_percent(labelled['estimated_share_wrong_female'])} of CelebA's to be wrong",
        f"call at least {_percent(labelled['read_as_wrong'] / labelled['pictures'])} of all wrong",
        f"besides {_percent(labelled['read_as_ambiguous'] / labelled['pictures'])} that could be read either way",
    ]
    for page, told in {"README.md": readme, "ETHICS.md": ethics}.items():
        text = " ".join((root / page).read_text(encoding="utf-8").split())
        assert [words for words in told if words not in text] == [], f"{page} says something else"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _rows(result: dict[str, Any], title: str) -> list[dict[str, Any]]:
    return next(table["rows"] for table in result["tables"] if table["title"] == title)
