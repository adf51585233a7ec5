"""The robustness trial: every picture in every condition, figures by hand, a reference, a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from perceived import corruptions, robustness, storage
from perceived.errors import ConfigError, DataError, SplitError, StorageError
from perceived.pages import robustness as page
from perceived.preprocess import Pixels
from perceived.workspace import Workspace


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Twelve grey pictures: dark ones female and bright ones male, as the tiny model thinks."""
    folder = tmp_path / "work"
    folder.mkdir()
    rows = []
    for i in range(12):
        label, brightness = ("female", 40 + i) if i % 2 else ("male", 200 + i)
        path = folder / f"{i:02}.png"
        Image.new("RGB", (12, 18), (brightness,) * 3).save(path)
        age = ("3-9", "9-Mar")[i % 3 == 0]
        rows.append({"id": path.name, "path": str(path), "label": label, "identity": None, "race": "AB"[i % 3 == 0]})
        rows[-1]["age"] = age
    table = pl.DataFrame(rows, schema_overrides={"identity": pl.Int64})
    table.with_columns(partition=pl.lit("test")).write_parquet(Workspace(folder).examples)
    table.drop("race", "age").with_columns(split=pl.lit("test")).write_parquet(Workspace(folder).split)
    return folder


def test_light_decides_for_a_model_that_reads_brightness(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = robustness.robustness(
        tiny_model, work, kinds=("bright", "dark", "blur"), by=("race", "label", "age"), out=tmp_path / "out"
    )
    assert ["does not say on" in found["notes"][0], "9-Mar is 3-9" in found["notes"][1]] == [True, True]
    assert list(found["groups"]["age"]) == ["3-9"]
    assert found["clean"]["accuracy"]["value"] == 1
    assert [point["accuracy"]["value"] for point in found["corruptions"]["blur"]] == [1] * 5
    assert found["corruptions"]["bright"][4]["accuracy"]["value"] == 0.5, "40 × 4 is bright"
    assert found["corruptions"]["dark"][4]["accuracy"]["value"] == 0.5, "200 × 0.08 is dark"
    errors = [1 - p["accuracy"]["value"] for curve in found["corruptions"].values() for p in curve]
    assert found["mean_error"] == pytest.approx(np.mean(errors))
    assert {name: g["n"] for name, g in found["groups"]["race"].items()} == {"A": 8, "B": 4}
    for kind, blind in {"bright": "female", "dark": "male"}.items():
        curves = {name: group["corruptions"][kind] for name, group in found["groups"]["label"].items()}
        assert {name: curve[4]["accuracy"]["value"] for name, curve in curves.items()} == {
            name: float(name != blind) for name in ("female", "male")
        }
    assert found.pop("report") == str(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "robustness.json").read_text()) == json.loads(json.dumps(found))
    assert found["model"]["sha256"] == storage.sha256_file(tiny_model)
    page = (tmp_path / "out" / "robustness.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert page.count("<svg") == 4
    assert page.count("data:image/jpeg") == 1 + 3 * 5
    assert {"curves.png", "groups-0.png", "groups-1.png", "groups-2.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_people_who_come_back_are_told(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    alone = robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "alone")
    assert len(alone["notes"]) == 1
    examples = pl.read_parquet(Workspace(work).split)
    identity = pl.Series("identity", [1, 1, 1, *range(2, 10), None])
    examples.with_columns(identity).write_parquet(Workspace(work).split)
    again = robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "again")
    assert again["notes"][1].startswith("12 pictures show about 10 people, and count as fewer")
    assert again["notes"][1] in (tmp_path / "again" / "robustness.html").read_text()


def test_pictures_of_the_same_people_read_alike_count_once() -> None:
    generator = np.random.default_rng(0)
    once = pl.DataFrame({"label": ["female", "male"] * 40, "race": ["A"] * 30 + ["B"] * 50, "identity": range(80)})
    probabilities = generator.dirichlet([2, 2], 80).astype(np.float32)
    conditions = [("clean", 0), *(("blur", severity) for severity in range(1, 6))]
    found, twice = (
        robustness.assess(
            {condition: np.repeat(probabilities, times, axis=0) for condition in conditions},
            once[np.repeat(np.arange(80), times)],
            ("female", "male"),
            0.7,
            [("race",)],
        )
        for times in (1, 2)
    )
    assert twice["n"] == 2 * found["n"]
    for one, two in (
        (found, twice),
        *((found["groups"]["race"][name], twice["groups"]["race"][name]) for name in "AB"),
    ):
        assert two["clean"]["accuracy"] == pytest.approx(one["clean"]["accuracy"])
        assert two["corruptions"]["blur"][2]["answered"] == pytest.approx(one["corruptions"]["blur"][2]["answered"])


def test_the_page_shows_what_the_network_saw(
    work: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, corrupt = [], corruptions.corrupt

    def note(pixels: Pixels, kind: str, severity: int, **how: int) -> Pixels:
        seen.append(corrupt(pixels, kind, severity, **how))
        return seen[-1]

    monkeypatch.setattr(corruptions, "corrupt", note)
    robustness.robustness(tiny_model, work, kinds=("occlude",), seed=3, out=tmp_path / "out")
    shown, first = seen[-5:], seen[0 : 12 * 5 : 12]
    assert len(seen) == 12 * 5 + 5
    assert all((a == b).all() for a, b in zip(shown, first, strict=True))


def test_charts_of_an_earlier_trial_do_not_stay(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "groups-7.png").touch()
    for by, there in ((("race",), True), ((), False)):
        robustness.robustness(tiny_model, work, kinds=("blur",), by=by, out=tmp_path)
        assert (tmp_path / "groups-0.png").exists() == there
    assert (tmp_path / "groups-7.png").exists()


def test_a_chart_of_many_groups_shows_those_that_end_lowest_with_their_names_apart() -> None:
    def group(n: int, last: float) -> dict[str, Any]:
        return {"n": n, "clean": {"accuracy": {"value": 1.0}}, "mean_accuracy_by_severity": [0.9, 0.9, 0.8, 0.8, last]}

    groups = {f"{i}": group(100, 0.3 + 0.001 * i) for i in range(40)} | {"few": group(3, 0.0)}
    lines = page.shown(groups)
    assert list(lines) == [f"{i}" for i in range(page.MOST)]
    assert page.told(groups) == f": the {page.MOST} of 41 groups that end lowest"
    figure = Figure()
    axes = figure.subplots()
    page.group_curves(lines)(axes)
    low, high = axes.get_ylim()
    heights = np.array([text.get_position()[1] for text in axes.texts])
    assert high <= 1.01
    assert low < heights.min() < heights.max() < high
    assert (np.diff(heights) >= 0.99 * page.ROW * (high - low)).all(), "in the order of the lines, and readable"


def test_a_folder_that_cannot_be_written_is_told_before_any_picture_is_scored(
    work: Path, tiny_model: Path, in_the_way: Path
) -> None:
    with pytest.raises(StorageError, match="a file is in the way"):
        robustness.robustness(tiny_model, work, out=in_the_way)


def test_a_model_is_its_own_measure(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    kinds = ("bright", "contrast")
    robustness.robustness(tiny_model, work, kinds=kinds, out=tmp_path / "first")
    again = robustness.robustness(tiny_model, work, kinds=kinds, out=tmp_path / "b", reference=tmp_path / "first")
    assert again["mean_corruption_error"] == pytest.approx(0.5, abs=0.01), "bright: 1; contrast has no errors: 0"
    assert again["reference"] == "tiny"


def test_abstention_is_counted_below_the_models_threshold(
    work: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    unsure = make_model(tmp_path / "unsure.onnx", threshold=0.9999)
    found = robustness.robustness(unsure, work, kinds=("contrast",), out=tmp_path / "out")
    assert found["clean"]["abstention"]["value"] == 1
    assert found["clean"]["answered"]["value"] is None
    assert found["clean"]["accuracy"]["value"] == 1


def test_a_sample_takes_both_labels_and_the_same_ones_again(work: Path) -> None:
    rows = pl.DataFrame({"id": range(100), "label": ["male"] * 80 + ["female"] * 20})
    drawn = robustness.sample(rows, 30, seed=1)
    assert drawn["label"].value_counts().sort("label")["count"].to_list() == [15, 15]
    assert drawn["id"].is_sorted()
    assert drawn.equals(robustness.sample(rows, 30, seed=1))
    assert robustness.sample(rows, 100, seed=1).height == 100


def test_a_column_may_have_any_name(work: Path) -> None:
    rows = pl.read_parquet(Workspace(work).split).with_columns(row=pl.lit("x"))
    assert robustness.sample(rows, 4, seed=0).columns == rows.columns


def test_what_cannot_be_tried_says_so(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no corruption 'rain'"):
        robustness.robustness(tiny_model, work, kinds=("rain",))
    with pytest.raises(ConfigError, match="nothing to try"):
        robustness.robustness(tiny_model, work, limit=1)
    with pytest.raises(DataError, match="does not exist"):
        robustness.robustness(tiny_model, work, reference=tmp_path / "none.json")
    robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "o")
    with pytest.raises(ConfigError, match="no figures for noise"):
        robustness.robustness(tiny_model, work, kinds=("noise",), reference=tmp_path / "o")
    with pytest.raises(ConfigError, match="has seed 0, and this trial 1"):
        robustness.robustness(tiny_model, work, kinds=("blur",), reference=tmp_path / "o", seed=1)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(DataError, match="holds no results"):
        robustness.robustness(tiny_model, work, kinds=("blur",), reference=tmp_path / "list.json")
    (tmp_path / "audit.json").write_text('{"groupings": [], "audit_version": 2}')
    with pytest.raises(ConfigError, match="no trial but an audit"):
        robustness.robustness(tiny_model, work, kinds=("blur",), reference=tmp_path / "audit.json")


def test_a_kind_that_is_named_twice_is_tried_once(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = robustness.robustness(tiny_model, work, kinds=("blur", "noise", "blur"), out=tmp_path / "o")
    assert list(found["corruptions"]) == ["blur", "noise"]


def test_pictures_out_of_reach_are_told(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(work / "split.parquet")
    rows.with_columns(path=pl.lit(str(tmp_path / "away.png"))).write_parquet(work / "split.parquet")
    with pytest.raises(SplitError, match=r"none can be read: .*away\.png"):
        robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "o")


def test_a_reference_on_other_pictures_is_refused(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    robustness.robustness(tiny_model, work, kinds=("blur",), limit=6, out=tmp_path / "o")
    rows = pl.read_parquet(work / "split.parquet")
    rows.sample(fraction=1, shuffle=True, seed=3).write_parquet(work / "split.parquet")
    with pytest.raises(ConfigError, match="has pictures"):
        robustness.robustness(tiny_model, work, kinds=("blur",), limit=6, reference=tmp_path / "o", out=tmp_path / "p")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"by": ("rase",)}, "no column 'rase'"), ({"seed": 1}, "has seed 0"), ({"on": "val"}, "has split 'test'")],
)
def test_what_does_not_fit_is_told_before_any_picture_is_scored(
    work: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "o")
    monkeypatch.setattr("perceived.scoring.score", lambda *_, **__: pytest.fail("pictures were scored"))
    rows = pl.read_parquet(work / "split.parquet")
    pl.concat([rows, rows.with_columns(split=pl.lit("val"))]).write_parquet(work / "split.parquet")
    with pytest.raises(ConfigError, match=said):
        robustness.robustness(
            tiny_model, work, kinds=("blur",), reference=tmp_path / "o", out=tmp_path / "p", **changed
        )


def test_unreadable_pictures_are_counted(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    (work / "03.png").write_bytes(b"")
    found = robustness.robustness(tiny_model, work, kinds=("blur",), out=tmp_path / "out")
    assert (found["pictures"]["scored"], found["pictures"]["unreadable"]) == (11, 1)
    assert found["n"] == 11
    assert found["notes"][-1] == "1 picture cannot be read. No rate includes them."
    assert found["notes"][-1] in (tmp_path / "out" / "robustness.html").read_text()


def test_the_accuracy_of_sure_answers_counts_answers_and_not_severities() -> None:
    """Nine tenths answered, all of them rightly, and a tenth, half of it: 0.95 of 1.0."""
    points = [
        {"abstention": {"value": abstention}, "answered": {"value": right}}
        for abstention, right in ((0.1, 1.0), (0.9, 0.5), (1.0, None))
    ]
    assert page.answered(points) == pytest.approx(0.95)
    assert page.answered(points[2:]) is None


def test_names_beside_a_chart_stand_apart_in_the_order_of_their_lines() -> None:
    heights = page._apart([0.9, 0.5, 0.901, 0.7], 0.4, 1.0)
    assert list(np.argsort(heights)) == [1, 3, 0, 2]
    assert heights[1] == pytest.approx(0.5)
    assert heights[2] - heights[0] == pytest.approx(page.ROW * 0.6)
