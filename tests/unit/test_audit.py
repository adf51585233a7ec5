"""The audit: right figures by group, honest intervals, flags, criteria and pages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perceived import audit, criteria, gaps, groups, metrics, significance
from perceived.answers import Reading
from perceived.data import split as splits
from perceived.errors import ConfigError, SplitError
from perceived.pages import audit as audit_page, audit_charts, markdown

LABELS = ("female", "male")


def table(rows: int, seed: int = 0, **columns: Any) -> pl.DataFrame:
    """Return rows of random truth, answers that are right nine times of ten, and calibrated probabilities."""
    random = np.random.default_rng(seed)
    male = random.random(rows) < 0.5
    confidence = 0.5 + random.random(rows) / 2
    says_male = np.where(random.random(rows) < confidence, male, ~male)
    data = {
        "label": np.where(male, "male", "female"),
        "answer": np.where(says_male, "male", "female"),
        "probability_male": np.where(says_male, confidence, 1 - confidence),
        "race": random.choice(["Black", "East Asian", "White"], rows),
        "age": random.choice(["3-9", "10-19", "20-29", "more than 70"], rows),
    }
    return pl.DataFrame({**data, **columns})


@pytest.fixture(scope="module")
def answers_table() -> pl.DataFrame:
    rows = table(3000)
    random = np.random.default_rng(9)
    answer = rows["answer"].to_numpy().copy()
    black = (rows["race"] == "Black").to_numpy()
    answer[black & (random.random(len(answer)) < 0.15)] = "uncertain"
    answer[:30] = "missed"
    return rows.with_columns(answer=pl.Series(answer))


@pytest.fixture(scope="module")
def found(answers_table: pl.DataFrame) -> dict[str, Any]:
    return audit.audit(answers_table, ["race", "age"], permutations=499)


def by(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return next(grouping for grouping in found["groupings"] if grouping["by"] == list(names))


def test_rates_are_those_counted_by_hand(found: dict[str, Any], answers_table: pl.DataFrame) -> None:
    black = answers_table.filter(race="Black")
    group = next(g for g in by(found, "race")["groups"] if g["name"] == "Black")
    answered = black.filter(pl.col("answer").is_in(LABELS))
    right = answered.filter(pl.col("answer") == pl.col("label"))
    men = answered.filter(label="male")
    assert group["n"] == black.height
    assert group["labels"] == {label: black.filter(label=label).height for label in LABELS}
    assert group["accuracy"]["value"] == pytest.approx(right.height / answered.height)
    assert group["correct"]["value"] == pytest.approx(right.height / black.height)
    assert group["recall"]["male"]["value"] == pytest.approx(men.filter(answer="male").height / men.height)
    assert group["selection"]["value"] == pytest.approx(answered.filter(answer="male").height / answered.height)
    assert group["abstention"]["value"] == pytest.approx(black.filter(answer="uncertain").height / black.height)
    assert group["missed"]["value"] == pytest.approx(black.filter(answer="missed").height / black.height)


def test_pairs_of_columns_are_audited_and_ages_stand_in_order(found: dict[str, Any]) -> None:
    assert [g["by"] for g in found["groupings"]] == [["race"], ["age"], ["race", "age"]]
    assert [g["name"] for g in by(found, "age")["groups"]] == ["3-9", "10-19", "20-29", "more than 70"]
    assert by(found, "race", "age")["groups"][0]["name"] == "Black · 3-9"
    assert sum(g["n"] for g in by(found, "race", "age")["groups"]) == found["rows"]


def test_gaps_agree_with_fairlearn(found: dict[str, Any], answers_table: pl.DataFrame) -> None:
    from fairlearn import metrics as fairlearn

    answered = answers_table.filter(pl.col("answer").is_in(LABELS))
    truth, said = ((answered[column] == "male").to_numpy().astype(int) for column in ("label", "answer"))
    gaps = by(found, "race")["gaps"]
    frame = fairlearn.MetricFrame(
        metrics=lambda t, p: float(np.mean(t == p)), y_true=truth, y_pred=said, sensitive_features=answered["race"]
    )
    settings = {"y_true": truth, "y_pred": said, "sensitive_features": answered["race"].to_numpy()}
    assert gaps["accuracy_gap"]["value"] == pytest.approx(frame.difference())
    assert gaps["demographic_parity_difference"]["value"] == pytest.approx(
        fairlearn.demographic_parity_difference(**settings)
    )
    assert gaps["equalized_odds_difference"]["value"] == pytest.approx(fairlearn.equalized_odds_difference(**settings))


def test_only_the_gap_that_was_made_is_significant(found: dict[str, Any]) -> None:
    gaps = by(found, "race")["gaps"]
    assert gaps["abstention_gap"]["p"] == pytest.approx(1 / 500)
    assert gaps["abstention_gap"]["highest"] == "Black"
    assert gaps["accuracy_gap"]["p"] > 0.01
    tests = [gap for g in found["groupings"] for gap in g["gaps"].values() if gap["p"] is not None]
    assert [gap["p_holm"] for gap in tests] == significance.holm([gap["p"] for gap in tests])
    assert any(gap["p_holm"] > gap["p"] for gap in tests)
    assert found["method"]["tests"] == len(tests)


def test_every_figure_of_a_group_counts_people_and_not_pictures() -> None:
    person = np.arange(2000) // 20
    fate = np.random.default_rng(1).random(100)[person]
    label = np.where(np.arange(2000) % 2, "male", "female")
    male = np.where((fate < 0.9) == (label == "male"), 0.9, 0.1)
    answer = np.where(fate > 0.96, "missed", np.where(male > 0.5, "male", "female"))
    race = [f"r{one % 2}" for one in person]
    rows = pl.DataFrame({"label": label, "answer": answer, "probability_male": male, "race": race})

    def widths(table: pl.DataFrame) -> np.ndarray[Any, Any]:
        (grouping,) = audit.audit(table, ["race"], permutations=9)["groupings"]
        first = grouping["groups"][0]
        figures = [grouping["worst"]["correct"], first["accuracy"], first["missed"], first["overconfidence"]]
        return np.array([one["high"] - one["low"] for one in figures])

    assert (widths(rows.with_columns(identity=pl.Series(person))) > 2.5 * widths(rows)).all()


def test_small_groups_are_flagged_shown_and_outside_gaps() -> None:
    rows = table(400).with_columns(race=pl.Series(["tiny"] * 5 + ["large"] * 195 + ["other"] * 200))
    wrong = {"answer": "female", "label": "male"}
    rows = rows.with_columns(pl.when(race="tiny").then(pl.lit(word)).otherwise(k).alias(k) for k, word in wrong.items())
    found = audit.audit(rows, ["race"], small=30, permutations=99)
    grouping = by(found, "race")
    tiny = next(g for g in grouping["groups"] if g["name"] == "tiny")
    assert tiny["small"]
    assert tiny["accuracy"]["value"] == 0
    assert grouping["worst"]["accuracy"]["group"] != "tiny"
    assert "tiny" not in (grouping["gaps"]["accuracy_gap"]["lowest"], grouping["gaps"]["accuracy_gap"]["highest"])
    assert any("fewer than 30 rows are in 1 of 3 groups (tiny)" in note for note in found["notes"])
    assert by(audit.audit(rows, ["race"], small=1, permutations=99), "race")["worst"]["accuracy"]["group"] == "tiny"


def test_many_groups_hide_no_small_one_in_markdown(tmp_path: Path) -> None:
    races = pl.Series("race", [f"r{i:02}" for i in range(20) for _ in range(100)] + ["few|1"] * 5 + ["few 2"] * 5)
    found = audit.audit(table(2010).with_columns(races), ["race"], small=30, permutations=9)
    text = audit_page.as_markdown(found, title="T <i>x</i> | y")
    assert "# T \\<i>x\\</i> \\| y\n" in text
    assert "## By race (20 of 22 groups: those read worst, and those of few rows)" in text
    assert "| few\\|1 | 5 (few) |" in text
    assert "| few 2 | 5 (few) |" in text
    assert sum(line.startswith(("| r0", "| r1")) for line in text.splitlines()) == audit_charts.MOST
    assert audit.judge(found, [])
    audit_page.write(tmp_path, found, title="T")
    assert "few|1" in (tmp_path / "audit.html").read_text()


def test_a_grouping_is_the_same_in_any_order() -> None:
    rows = table(400, race=pl.Series(["a", "b"] * 200), age=pl.Series(["old"] * 200 + ["young"] * 200))
    found = audit.audit(rows, ["race", "age", "age*race", "race*age"], permutations=9)
    assert [grouping["by"] for grouping in found["groupings"]] == [["race"], ["age"], ["age", "race"]]
    assert criteria.check(["race*age:worst_group_accuracy<0"], found)[0]["failed"] is False
    with pytest.raises(ConfigError, match="a column twice"):
        audit.audit(rows, ["race*race"], permutations=9)


def test_where_the_eyes_are_is_no_group_unless_it_is_named() -> None:
    rows = table(200, race=pl.Series(["a", "b"] * 100), lefteye_x=pl.Series([69, 70] * 100))
    found = audit.audit(rows, ["all"], permutations=9)
    assert [grouping["by"] for grouping in found["groupings"]] == [["race"], ["age"], ["race", "age"]]
    assert audit.audit(rows, ["lefteye_x"], permutations=9)["groupings"]


def test_p_values_of_every_gap_are_uniform_under_the_null() -> None:
    """Where groups have nothing to do with answers, a share a of the p-values lies below a, for each kind of gap."""
    random, values = np.random.default_rng(7), {name: [] for name in gaps.TESTED}
    for seed in range(300):
        rows = table(500, seed=seed)
        unsure = random.choice(["", "uncertain", "missed"], 500, p=[0.7, 0.2, 0.1])
        rows = rows.with_columns(
            answer=pl.Series(np.where(unsure == "", rows["answer"], unsure)),
            race=pl.Series(random.choice(["a", "b", "c", "few"], 500, p=[0.5, 0.3, 0.18, 0.02])),
        )
        found = audit.audit(rows, ["race"], permutations=199, seed=seed)
        for name, gap in by(found, "race")["gaps"].items():
            values[name].append(gap["p"])
    for name, p in values.items():
        distance = np.abs(np.sort(p) - np.arange(1, 301) / 300).max()
        assert distance < 1.63 / np.sqrt(300), f"{name}: Kolmogorov-Smirnov, 1 %"


def test_charts_of_names_alike_do_not_share_a_file() -> None:
    names = [audit_page.chart_name(by) for by in (["skin tone"], ["skin_tone"], ["skin-tone"], ["race", "age"])]
    assert len({*names}) == 4
    assert names[-1] == "by-race-age"


def test_empty_cells_are_a_group_and_flags_are_yes_and_no() -> None:
    values = ["", " ", None, *["1"] * 100, *["-1"] * 97]
    found = audit.audit(table(200, Young=pl.Series(values)), ["Young"], permutations=9)
    assert {g["name"]: g["n"] for g in by(found, "Young")["groups"]} == {"yes": 100, "no": 97, "not known": 3}


def test_flags_in_a_column_with_gaps_are_flags() -> None:
    """Pandas writes whole numbers with a point where one is missing."""
    tidied, _ = groups.tidy(pl.Series("hat", ["1.0", "0.0", None]))
    assert tidied.to_list() == ["yes", "no", "not known"]
    assert groups.tidy(pl.Series("score", ["1.0", "0.0", "2.0"]))[0].to_list() == ["1.0", "0.0", "2.0"]


def test_bands_that_a_spreadsheet_took_for_dates_are_mended() -> None:
    values = pl.Series("age", ["9-Mar", "03-Sep", "Oct-19", "19-Oct", "20-29", "more than 70"])
    mended, note = groups.tidy(values)
    assert mended.to_list() == ["3-9", "3-9", "10-19", "10-19", "20-29", "more than 70"]
    assert note is not None
    assert "9-Mar is 3-9" in note
    assert groups.tidy(pl.Series("age", ["3-9", "7-Foo"]))[1] is None


def test_ages_in_years_are_put_into_bands() -> None:
    years = [*range(116), "", None, "130", "-1", *[" 34 "] * 80]
    found = audit.audit(
        table(200, age=pl.Series([None if y is None else str(y) for y in years])), ["all"], permutations=9
    )
    counts = {g["name"]: g["n"] for g in by(found, "age")["groups"]}
    assert counts == {
        "0-2": 3,
        "3-9": 7,
        "10-19": 10,
        "20-29": 10,
        "30-39": 90,
        "40-49": 10,
        "50-59": 10,
        "60-69": 10,
        "more than 70": 46,
        "not known": 4,
    }
    assert any(note.startswith("Ages are in years") and note.endswith("-1, 130.") for note in found["notes"])
    rows = table(200, age=pl.Series([str(i % 90) for i in range(200)]))
    assert not any("Ages are" in note for note in audit.audit(rows, ["race"], permutations=9)["notes"])


@pytest.mark.parametrize("ages", [["3-9", "20-29", "34"], [str(i) for i in range(9)], ["0.5"] * 3, [None] * 3])
def test_ages_that_may_be_bands_are_left(ages: list[str | None]) -> None:
    rows = pl.DataFrame({"age": pl.Series(ages, dtype=pl.String)})
    banded, note = groups.band_years(rows)
    assert note is None
    assert banded.equals(rows)


def test_all_means_every_column_that_divides_people() -> None:
    rows = table(200, Male=None, constant="x", many=[str(i) for i in range(200)])
    rows = rows.with_columns(Male=pl.col("label") == "male")
    found = audit.audit(rows, ["all"], permutations=9)
    assert [g["by"] for g in found["groupings"]] == [["race"], ["age"], ["race", "age"]]
    assert any(note.startswith("Male says what the label says") for note in found["notes"])
    assert any("constant (1), many (200)" in note for note in found["notes"])


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'rage'"):
        audit.audit(table(10), ["rage"])
    with pytest.raises(ConfigError, match="nothing to group by"):
        audit.audit(table(10), [])
    with pytest.raises(ConfigError, match="no column 'skin'") as caught:
        groups.choose(["skin"], {"race": 7, "skin, tone": 3})
    assert caught.value.mend.startswith("rename 'skin, tone' if it is meant")


def test_one_label_alone_is_said_and_does_not_break() -> None:
    found = audit.audit(table(100).with_columns(label=pl.lit("male")), ["race"], permutations=9)
    assert any("Every label is male" in note for note in found["notes"])
    assert found["overall"]["recall"]["female"] == {"value": None, "low": None, "high": None, "n": 0, "few": False}


def test_without_probabilities_there_is_no_calibration() -> None:
    rows = table(100).with_columns(probability_male=pl.lit(None, pl.Float64))
    found = audit.audit(rows, ["race"], permutations=9)
    assert found["overall"]["calibration_error"]["value"] is None
    assert any("without a part in calibration: 100 of 100 rows" in note for note in found["notes"])


def test_answers_against_their_probability_are_told() -> None:
    rows = table(100).with_columns(answer=pl.lit("male"), probability_male=pl.lit(0.2))
    assert any("own probability: 100 answers" in n for n in audit.audit(rows, ["race"], permutations=9)["notes"])


def test_a_column_of_names_that_hardly_come_back_does_not_repeat_the_label() -> None:
    rows = table(60, photographer=[f"p{i}" for i in range(40)] + ["often"] * 20)
    assert not groups.repeats_the_label(rows.head(40), "photographer")
    same = rows.with_columns(photographer=pl.col("label") + pl.lit("'s"))
    assert groups.repeats_the_label(same, "photographer")


def test_values_that_differ_by_capitals_alone_are_told() -> None:
    _, note = groups.tidy(pl.Series("race", ["Black", "black", "White"]))
    assert note == "Values of race differ by capitals alone, and are groups of their own: Black, black."


def test_the_order_of_rows_does_not_matter(answers_table: pl.DataFrame, found: dict[str, Any]) -> None:
    shuffled = audit.audit(answers_table.sample(fraction=1, shuffle=True, seed=1), ["race", "age"], permutations=499)
    assert json.dumps(shuffled, sort_keys=True) == json.dumps(found, sort_keys=True)


def test_calibration_intervals_cover_at_their_rate() -> None:
    """The truth of this overconfident model is known: it says c and is right in c - 0.08 of the cases."""
    random = np.random.default_rng(5)
    error, over, runs = 0, 0, 150
    for run in range(runs):
        confidence = 0.6 + 0.4 * random.random(600)
        right = random.random(600) < confidence - 0.08
        label = np.where(right, 1, 0).astype(np.int32)
        known = groups.Confidences.of(confidence, label)
        everyone = groups.Grouping(("all",), (("all",),), np.zeros(600, np.int32))
        figures = groups.calibrations(everyone, known, seed=run)[0]
        error += figures["calibration_error"]["low"] <= 0.08 <= figures["calibration_error"]["high"]
        over += figures["overconfidence"]["low"] <= 0.08 <= figures["overconfidence"]["high"]
    assert error / runs >= 0.92
    assert 0.90 <= over / runs < 1


@pytest.mark.parametrize("rows", [7, 200, 5003])
def test_an_audit_and_an_evaluation_have_one_calibration_error(rows: int) -> None:
    random = np.random.default_rng(rows)
    confidence = np.round(0.6 + 0.4 * random.random(rows), 2)
    right = random.random(rows) < confidence - 0.08
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(rows, np.int32))
    figure = groups.calibrations(everyone, groups.Confidences.of(confidence, right.astype(np.int32)))[0]
    assert figure["calibration_error"]["value"] == pytest.approx(metrics.calibration_error(confidence, right))


def test_equal_confidences_share_a_bin() -> None:
    """A model that always says 90 % and is right in 90 % is calibrated, however the rows are ordered."""
    label = np.repeat([1, 0], [90, 10]).astype(np.int32)
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(100, np.int32))
    for order in (slice(None), slice(None, None, -1)):
        known = groups.Confidences.of(np.full(100, 0.9), label[order])
        assert groups.calibrations(everyone, known)[0]["calibration_error"]["value"] == pytest.approx(0, abs=1e-9)


def test_a_group_without_a_mistake_has_no_interval_of_its_calibration_error() -> None:
    """Redrawing rows that are all right gives the same again: that is no certainty."""
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(3, np.int32))
    known = groups.Confidences.of(np.full(3, 0.9), np.ones(3, np.int32))
    figure = groups.calibrations(everyone, known)[0]["calibration_error"]
    assert figure == {"value": pytest.approx(0.1), "low": None, "high": None}
    assert audit_page._interval(figure) == "10.0% (–)"


@pytest.mark.parametrize(
    ("criterion", "fails"),
    [
        ("accuracy<0.5", False),
        ("accuracy<0.999", True),
        ("worst_group_accuracy < 0.999", True),
        ("race:worst_group_recall<=0.1", False),
        ("race*age:accuracy_gap>0.9", False),
        (" race * age :accuracy_gap>0.9", False),
        ("abstention_gap>0.05", True),
        ("equalized_odds_difference>=0", True),
    ],
)
def test_criteria(found: dict[str, Any], criterion: str, fails: bool) -> None:
    judged = dict(found)
    assert audit.judge(judged, [criterion]) is not fails
    assert judged["criteria"][0]["failed"] is fails


def test_a_figure_that_cannot_be_had_fails() -> None:
    found = audit.audit(table(40), ["race"], small=1000, permutations=9)
    assert not audit.judge(found, ["worst_group_accuracy<0.1"])


def test_a_named_grouping_whose_rows_are_too_few_fails_and_one_that_nobody_named_is_passed_over() -> None:
    rows = table(400, shoe=[f"size {i % 20}" for i in range(400)])
    criterion = ["worst_group_accuracy<0.1"]
    found = audit.audit(rows, ["race", "shoe"], permutations=9)
    assert {tuple(g["by"]): g["named"] for g in found["groupings"]} == {
        ("race",): True, ("shoe",): True, ("race", "shoe"): False,
    }  # fmt: skip
    assert not audit.judge(found, criterion)
    assert found["criteria"][0]["where"] == "shoe: the rows do not support this figure"
    assert audit.judge(found, ["race:worst_group_accuracy<0.1"])
    assert audit.judge(audit.audit(rows, ["all"], permutations=9), criterion)
    assert audit.judge(audit.audit(rows, ["race"], permutations=9), criterion)


def test_columns_that_hardly_anybody_means_group_where_they_are_named() -> None:
    rows = table(200, weight=["light", "heavy"] * 100)
    assert [g["by"] for g in audit.audit(rows, ["weight"], permutations=9)["groupings"]] == [["weight"]]
    assert ["weight"] not in [g["by"] for g in audit.audit(rows, ["all"], permutations=9)["groupings"]]
    with pytest.raises(ConfigError, match="no column 'answer'"):
        audit.audit(rows, ["answer"])


def test_the_lowest_of_many_alike_groups_stands_beside_how_low_luck_makes_it() -> None:
    """A fair model, read 95 % right in 40 groups: the lowest is far below, and so is what is said of luck."""
    random = np.random.default_rng(3)
    right = random.random(4000) < 0.95
    rows = table(4000, place=[f"place {i % 40}" for i in range(4000)]).with_columns(
        answer=pl.when(pl.Series(right)).then("label").otherwise(pl.lit("uncertain"))
    )
    found = audit.audit(rows, ["place"], permutations=9)["groupings"][0]["worst"]
    assert found["correct"]["of"] == 40
    assert found["correct"]["value"] == pytest.approx(found["correct"]["if_alike"], abs=0.03)
    assert found["correct"]["low"] < found["correct"]["value"] < 0.92 < 0.95
    assert found["accuracy"]["if_alike"] is None, "every answer is right: there is nothing to be luck"
    judged = {"groupings": [{"by": ["place"], "named": True, "worst": found, "groups": []}], "excluded": {}}
    assert audit.judge(judged, ["worst_group_correct<0.8"])
    assert not audit.judge(judged, ["place: worst_group_correct<0.95"])


def test_the_lowest_of_all_groupings_is_the_lowest_of_all_their_groups() -> None:
    """A fair model and thirty flags: what is lowest of sixty groups is about what luck makes of sixty."""
    random = np.random.default_rng(4)
    right = pl.Series(random.random(3000) < 0.95)
    flags = {f"flag{i}": random.choice(["yes", "no"], 3000).tolist() for i in range(30)}
    wrong = pl.col("label").replace_strict({"female": "male", "male": "female"})
    rows = table(3000, **flags).with_columns(answer=pl.when(right).then("label").otherwise(wrong))
    found = audit.audit(rows, list(flags), permutations=9)
    (one,) = (g["worst"]["accuracy"] for g in found["groupings"] if [found["worst"]["accuracy"]["by"]] == g["by"])
    assert (one["of"], found["worst"]["accuracy"]["of"]) == (2, 60)
    assert found["worst"]["accuracy"]["if_alike"] < one["if_alike"]
    assert found["worst"]["accuracy"]["value"] == pytest.approx(found["worst"]["accuracy"]["if_alike"], abs=0.01)


def test_intervals_are_wider_and_gaps_less_certain_where_people_come_back() -> None:
    people = [i // 20 for i in range(2000)]
    right = [random < 0.9 for random in np.random.default_rng(1).random(100)]
    rows = table(2000, race=[f"r{i // 20 % 4}" for i in range(2000)]).with_columns(
        answer=pl.when(pl.Series([right[i] for i in people])).then("label").otherwise(pl.lit("uncertain"))
    )
    alone, again = (
        audit.audit(one, ["race"], permutations=199) for one in (rows, rows.with_columns(identity=pl.Series(people)))
    )
    width = [found["overall"]["correct"]["high"] - found["overall"]["correct"]["low"] for found in (alone, again)]
    assert width[1] > 4 * width[0]
    p = [found["groupings"][0]["gaps"]["abstention_gap"]["p"] for found in (alone, again)]
    assert p[0] <= 0.01 < 0.05 < p[1]
    assert any("about 100 people" in note and "design effects" in note for note in again["notes"])


def test_a_few_rows_that_are_all_right_do_not_show_too_little_confidence() -> None:
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(4, np.int32))
    known = groups.Confidences.of(np.full(4, 0.9), np.ones(4, np.int32))
    over = groups.calibrations(everyone, known)[0]["overconfidence"]
    assert (over["value"], over["low"]) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert over["high"] == pytest.approx(0.9 - 4 / (4 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize("criterion", ["worst_group_recall<0.1", "accuracy_gap>0.99", "equalized_odds_difference>0.99"])
def test_a_label_that_is_never_answered_in_a_group_does_not_pass(criterion: str) -> None:
    rows = table(400, race=["A"] * 200 + ["B"] * 200)
    unsure = pl.when((pl.col("race") == "B") & (pl.col("label") == "female")).then(pl.lit("uncertain"))
    found = audit.audit(rows.with_columns(answer=unsure.otherwise("label")), ["race"], permutations=9)
    assert not audit.judge(found, [criterion])
    assert found["criteria"][0]["where"] == "race: B · female is hardly ever answered"


def test_a_rate_of_few_rows_in_a_large_group_is_flagged_and_told(tmp_path: Path) -> None:
    """29 women among 229 people, all read as men: too few to be the worst, and not to be passed over."""
    rows = table(429, race=["A"] * 200 + ["B"] * 229, label=["female", "male"] * 100 + ["female"] * 29 + ["male"] * 200)
    read_as_men = pl.when(pl.col("race") == "B").then(pl.lit("male")).otherwise("label")
    found = audit.audit(rows.with_columns(answer=read_as_men), ["race"], permutations=9)
    (group,) = (one for one in by(found, "race")["groups"] if one["name"] == "B")
    assert (group["small"], group["accuracy"]["few"], group["recall"]["male"]["few"]) == (False, False, False)
    assert (group["recall"]["female"]["n"], group["recall"]["female"]["few"]) == (29, True)
    assert "race: B, recall of female 0.0% (n = 29)" in found["notes"][-1]
    audit.judge(found, ["worst_group_recall<0.5", "worst_group_accuracy<0.5"])
    recall, accuracy = found["criteria"]
    assert recall["where"].endswith("; not counting 1 rate of few rows")
    assert accuracy["where"] == "race: B (n = 229, 82.4% to 91.0%)"
    audit_page.write(tmp_path, found, title="t")
    assert "0.0% (0.0–11.7) (few)" in (tmp_path / "audit.md").read_text()


def test_many_small_groups_are_told_of_once() -> None:
    rows = table(200, **{f"c{i}": ["x"] * 195 + ["y"] * 5 for i in range(8)})
    notes = audit.audit(rows, [f"c{i}" for i in range(8)], permutations=9)["notes"]
    assert [note for note in notes if "fewer than 30 rows" in note] == [
        "In 8 of 8 groupings, some groups have fewer than 30 rows: they stand in the tables, marked, and outside gaps."
    ]


def test_a_gap_says_of_how_many_groups_it_is_and_one_of_few_cannot_be_vouched_for(tmp_path: Path) -> None:
    """Of ten countries, eight have three women: they say nothing of how alike women are read."""
    countries, few = [f"c{i // 60}" for i in range(600)], ["female"] * 3 + ["male"] * 57
    rows = table(600, country=countries, label=["female", "male"] * 60 + few * 8, region=["N", "S"] * 300)
    found = audit.audit(rows.with_columns(answer="label"), ["country"], permutations=9)
    assert by(found, "country")["gaps"]["accuracy_gap"]["of"] == 10
    audit.judge(found, ["equalized_odds_difference>0.5", "accuracy_gap>0.5", "worst_group_recall<0.5"])
    odds, accuracy, recall = found["criteria"]
    assert (odds["failed"], accuracy["failed"], recall["failed"]) == (True, False, True)
    assert odds["where"] == "country: only 2 of 10 groups have enough rows for this figure"
    men_right = pl.when(label="male").then(pl.lit("male")).otherwise("answer")
    again = audit.audit(rows.with_columns(answer=men_right), ["country"], permutations=9)
    audit.judge(again, [])
    audit_page.write(tmp_path, again, title="t")
    assert re.search(r"equalised odds \|.*\| 2 of 10 \|", (tmp_path / "audit.md").read_text())
    assert "2 of 10 groups" in (tmp_path / "audit.html").read_text()
    paired = audit.audit(rows.with_columns(answer="label"), ["country", "region"], permutations=9)
    assert audit.judge(paired, ["region:equalized_odds_difference>0.5"])
    assert not audit.judge(paired, ["country*region:equalized_odds_difference>0.5"]), "named here, if not for the audit"


def test_groups_of_many_rows_and_few_people_are_told() -> None:
    rows = table(700, race=["A"] * 600 + ["B"] * 100, identity=[i // 60 for i in range(600)] + [*range(100, 200)])
    notes = audit.audit(rows, ["race"], permutations=9)["notes"]
    assert "Of fewer than 30 people, though of more rows, are race: A (10 people)." in notes[-1]
    assert not any("fewer than 30 people" in note for note in audit.audit(rows, ["race"], small=10)["notes"])


def test_a_probability_of_a_half_is_half_right() -> None:
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(200, np.int32))
    known = groups.Confidences.of(np.full(200, 0.5), np.ones(200, np.int32))
    assert groups.calibrations(everyone, known)[0]["overconfidence"]["value"] == 0


def test_a_label_that_nobody_has_does_not_stand_against_a_figure() -> None:
    rows = table(600, label=["female"] * 600)
    found = audit.audit(rows, ["race"], permutations=9)
    assert audit.judge(found, ["race:worst_group_recall<0.1", "race:equalized_odds_difference>0.9"])


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\x0b"])
def test_no_name_ends_a_row_of_a_table(end: str) -> None:
    assert markdown.plain(f"R{end}D & ~co~") == "R D \\& \\~co\\~"
    assert markdown.plain("نمی\u200cشود") == "نمی\u200cشود", "a joiner is a letter's"


@pytest.mark.parametrize("limit", ["5", "-0.1", "1e9"])
def test_a_limit_that_no_rate_ever_reaches_is_refused(found: dict[str, Any], limit: str) -> None:
    with pytest.raises(ConfigError, match="rates and gaps lie between 0 and 1"):
        audit.judge(dict(found), [f"accuracy_gap>{limit}"])


def test_a_group_that_is_never_answered_does_not_pass() -> None:
    rows = table(400, race=["A"] * 300 + ["B"] * 100)
    unsure = pl.when(pl.col("race") == "B").then(pl.lit("uncertain")).otherwise("answer")
    found = audit.audit(rows.with_columns(answer=unsure), ["race"], permutations=9)
    assert not audit.judge(found, ["worst_group_accuracy<0.1"])
    assert found["criteria"][0]["where"] == "race: B is hardly ever answered"
    assert audit.judge(found, ["accuracy<0.1"])


def answered_in_part(answered: int, of: int) -> pl.DataFrame:
    """Return right answers of four large groups by size and region, but for one pair of ``of`` rows."""
    size = ["small"] * 200 + ["large"] * (100 + of)
    region = ["north"] * 100 + ["south"] * 200 + ["north"] * of
    rows = table(300 + of, size=size, region=region)
    answer = rows["label"].to_list()
    answer[300 + answered :] = ["uncertain"] * (of - answered)
    return rows.with_columns(answer=pl.Series(answer))


@pytest.mark.parametrize(
    ("answered", "of", "passes"), [(29, 32, True), (16, 32, True), (15, 32, False), (20, 80, False), (70, 160, True)]
)
def test_a_pair_that_nobody_named_fails_only_where_under_half_of_it_is_answered(
    answered: int, of: int, passes: bool
) -> None:
    found = audit.audit(answered_in_part(answered, of), ["size", "region"], permutations=9)
    assert audit.judge(found, ["worst_group_accuracy<0.5"]) is passes
    if not passes:
        assert found["criteria"][0]["where"] == "size × region: large · north is hardly ever answered"


def test_a_known_figure_that_breaks_the_limit_is_reported_whoever_else_is_not_answered() -> None:
    rows = table(400, race=["A"] * 300 + ["B"] * 100)
    unsure = pl.when(pl.col("race") == "B").then(pl.lit("uncertain")).otherwise("answer")
    found = audit.audit(rows.with_columns(answer=unsure), ["race"], permutations=9)
    assert not audit.judge(found, ["worst_group_accuracy<0.99"])
    verdict = found["criteria"][0]
    assert verdict["value"] == by(found, "race")["worst"]["accuracy"]["value"]
    assert verdict["where"] == "race: A (n = 300, 70.5% to 80.2%)"


@pytest.mark.parametrize("text", ["accuracy", "accuracy=1", "acuracy<0.9", "accuracy<x", "accuracy<1.2.3", ""])
def test_criteria_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no criterion"):
        criteria.parse(text)


def test_a_criterion_on_a_grouping_that_is_not_there_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="names a grouping"):
        audit.judge(dict(found), ["hair:accuracy_gap>0.1"])


def test_the_page_is_whole_in_itself_and_shows_every_group(found: dict[str, Any], tmp_path: Path) -> None:
    judged = dict(found)
    audit.judge(judged, ["worst_group_accuracy<0.9"])
    audit_page.write(tmp_path, judged, title="Audit of <b>")
    page = (tmp_path / "audit.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert page.count("<svg") == 3
    assert "Audit of &lt;b&gt;" in page
    for grouping in judged["groupings"]:
        for group in grouping["groups"]:
            assert f"<th>{group['name']}" in page
    assert {"audit.json", "audit.md", "by-race.png", "by-age.png"} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "audit.json").read_text())["rows"] == 3000
    assert "worst_group_accuracy&lt;0.9" in page


def test_names_of_groups_cannot_write_into_page_or_markdown(tmp_path: Path) -> None:
    rows = table(200, race=["<script>x</script>", "a|b*c\\|d $\\frac$"] * 100)
    found = audit.audit(rows, ["race"], permutations=9)
    audit.judge(found, [])
    audit_page.write(tmp_path, found, title="t")
    assert "<script>x" not in (tmp_path / "audit.html").read_text()
    markdown = (tmp_path / "audit.md").read_text()
    assert "a\\|b\\*c\\\\\\|d" in markdown
    assert "<script>" not in markdown.replace("\\<script>", "")


def test_attributes_share_one_chart(tmp_path: Path) -> None:
    flags = {f"flag{i}": [bool((row >> i) & 1) for row in range(400)] for i in range(7)}
    found = audit.audit(table(400, **flags), list(flags), permutations=9)
    audit.judge(found, [])
    audit_page.write(tmp_path, found, title="t")
    assert (tmp_path / "audit.html").read_text().count("<svg") == 1
    assert (tmp_path / "attributes.png").is_file()
    (tmp_path / "by-hand.png").touch()
    again = audit.audit(table(400), ["race"], permutations=9)
    audit.judge(again, [])
    audit_page.write(tmp_path, again, title="t")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["by-hand.png", "by-race.png"]


def _large(folder: Path, rows: int) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    data = table(rows).with_row_index("id")
    named = {f"g{i}": [f"v{j}" for j in range(count)] for i, count in enumerate((7, 9, 3, 12, 2))}
    columns = {name: random.choice(values, rows) for name, values in named.items()}
    labels = data.select("id", "label").with_columns(**{k: pl.Series(v) for k, v in columns.items()})
    labels.write_csv(folder / "labels.csv")
    said = data.select("id", pl.col("answer").alias("perceived_gender"), pl.col("probability_male").round(5))
    said.write_csv(folder / "predictions.csv")
    return folder / "predictions.csv", folder / "labels.csv"


@pytest.mark.parametrize(("rows", "seconds"), [(50_000, 10.0), pytest.param(1_000_000, 10.0, marks=pytest.mark.full)])
def test_a_million_answers_in_five_groups_take_ten_seconds(tmp_path: Path, rows: int, seconds: float) -> None:
    """Processor time, whatever else the machine does; every pair of the five columns is audited too."""
    predictions, labels = _large(tmp_path, rows)
    started = time.process_time()
    joined, reading = audit.audit_files(predictions, labels)
    found = audit.audit(joined, ["all"], reading=reading)
    audit.judge(found, ["accuracy<0.1"])
    audit_page.write(tmp_path / "out", found, title="large")
    assert time.process_time() - started <= seconds
    assert found["rows"] == rows
    assert len(found["groupings"]) == 15


@pytest.mark.full
def test_a_million_answers_fit_in_two_gigabytes(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    predictions, labels = _large(tmp_path, 1_000_000)
    code = (
        "import resource; from pathlib import Path; from perceived import audit;"
        f"t, r = audit.audit_files(Path({str(predictions)!r}), Path({str(labels)!r}));"
        "audit.audit(t, ['all'], reading=r);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    assert int(run_python(code)) <= 2 * 2**20, "kilobytes"


@pytest.fixture
def run_python() -> Callable[[str], str]:
    import subprocess
    import sys

    return lambda code: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", [{"permutations": 0}, {"permutations": -1}, {"small": 0}])
def test_numbers_below_one_are_refused(answers_table: pl.DataFrame, number: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="are 1 or more"):
        audit.audit(answers_table, ["race"], **number)


@pytest.mark.parametrize("people", [[7, 7], ["Ann", "Ann"]])
def test_pictures_of_nobody_known_count_as_a_person_each(people: list[Any]) -> None:
    rows = table(100, identity=pl.Series([*people, *[None] * 98]))
    for by in (["race"], ["race", "identity"]):
        notes = audit.audit(rows, by, permutations=9)["notes"]
        assert any(note.startswith("100 pictures show about 99 people.") for note in notes)


def test_readings_are_not_changed(answers_table: pl.DataFrame) -> None:
    reading = Reading({"labels without a prediction": 3}, ["a note"])
    found = audit.audit(answers_table, ["race"], reading=reading, permutations=9)
    assert found["excluded"] == {"labels without a prediction": 3}
    assert found["notes"][0] == "a note"
    assert reading == Reading({"labels without a prediction": 3}, ["a note"])


def test_a_model_s_own_doubt_and_pictures_that_it_cannot_read_are_audited_and_where_it_learnt_is_told(
    make_model: Callable[..., Path], picture: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [(f"{shade}.png", str(picture(f"{shade}.png", shade))) for shade in (250, 140, 5)]
    (tmp_path / "torn.png").write_bytes(b"no picture")
    rows.append(("torn.png", str(tmp_path / "torn.png")))
    split = pl.DataFrame(rows, schema=["id", "path"], orient="row").with_columns(label=pl.lit("male"))
    split = split.with_columns(split=pl.lit("val"), identity=pl.lit(None, pl.Int64))
    split.write_parquet(tmp_path / "split.parquet")
    split.rename({"split": "partition"}).write_parquet(tmp_path / "examples.parquet")
    courses = {"one": {"seconds": 1.0, "pictures_sha256": splits.pictures_fingerprint(split)}}
    model = make_model(tmp_path / "m.onnx", threshold=0.9, provenance={"courses": courses})
    table, reading = audit.audit_workspace(model, tmp_path, on="val")
    assert table["answer"].to_list() == ["male", "uncertain", "female", "missed"]
    assert table["probability_male"].is_null().to_list() == [False, False, False, True]
    unread, chosen = reading.notes
    assert unread == "1 picture cannot be read or show no face, and count as missed: torn.png."
    assert chosen == "The checkpoint was chosen on these pictures, so the figures flatter it a little."
    always, _ = audit.audit_workspace(model, tmp_path, on="val", always_answer=True)
    assert always["answer"].to_list() == ["male", "male", "female", "missed"]


def test_a_model_that_can_read_nothing_is_not_audited(make_model: Callable[..., Path], tmp_path: Path) -> None:
    split = pl.DataFrame({"id": ["a"], "path": [str(tmp_path / "gone.png")], "label": ["male"], "split": ["val"]})
    split.with_columns(identity=pl.lit(None, pl.Int64)).write_parquet(tmp_path / "split.parquet")
    split.rename({"split": "partition"}).write_parquet(tmp_path / "examples.parquet")
    with pytest.raises(SplitError, match=r"Of 1 picture, none can be read: .*gone\.png"):
        audit.audit_workspace(make_model(tmp_path / "m.onnx"), tmp_path, on="val")


def test_answers_for_a_workspace_may_name_their_pictures_otherwise(tmp_path: Path) -> None:
    split = pl.DataFrame({"id": ["a"], "path": ["a.png"], "label": ["male"], "split": ["test"]})
    split.write_parquet(tmp_path / "split.parquet")
    split.rename({"split": "partition"}).write_parquet(tmp_path / "examples.parquet")
    (tmp_path / "said.csv").write_text("file,perceived_gender\na,female\n")
    table, _ = audit.audit_workspace(tmp_path / "said.csv", tmp_path, id_column="file")
    assert table["answer"].to_list() == ["female"]


def test_the_worst_group_has_the_interval_of_its_own_design_effect() -> None:
    """Ten men, too few to count, stand before two groups of a hundred, of whom 90 and 80 are read right."""
    grouping = groups.Grouping(("place",), (("few",), ("good",), ("bad",)), np.zeros(0, np.int32))
    counts = np.zeros((3, 2, 4), np.int64)
    counts[:, 1, :2] = [[5, 5], [10, 90], [20, 80]]
    found, _ = gaps.worst(grouping, counts, small=30, effects={"accuracy": np.array([9.0, 1.0, 4.0])})
    assert (found["accuracy"]["group"], found["accuracy"]["n"]) == ("bad", 100)
    low, high = significance.wilson(20, 25)
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("effect", "enough"), [(2.0, True), (2.1, False)])
def test_a_calibration_error_has_an_interval_where_each_bin_has_a_row_that_counts(effect: float, enough: bool) -> None:
    """Thirty rows of alike pictures are as few as fifteen, one for each bin."""
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(30, np.int32))
    known = groups.Confidences.of(np.linspace(0.6, 0.9, 30), np.tile([0, 1], 15).astype(np.int32))
    (found,) = groups.calibrations(everyone, known, effects=np.array([effect]))
    assert found["calibration_error"]["value"] is not None
    assert (found["calibration_error"]["low"] is not None) == enough


@pytest.mark.parametrize("name", ["len", "rows", "labels", "value", "label_"])
def test_a_column_may_have_any_name(name: str) -> None:
    table = pl.DataFrame({"label": ["female", "male"] * 20, name: ["a", "a", "b", "b"] * 10})
    assert not groups.repeats_the_label(table, name)


def test_a_column_without_a_name_is_not_among_all() -> None:
    assert groups.choose(["all"], {"": 5, "race": 7, "id": 5000}) == [("race",)]
