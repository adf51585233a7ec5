"""Calibration: its laws on simulated answers, and a model file refitted to pictures."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from perceived import calibrate, images, lineage, metrics, threshold
from perceived.classifier import Classifier, calibrated, softmax
from perceived.data import split as splits
from perceived.errors import ConfigError, ModelFileError, SplitError, StorageError
from perceived.repeats import People
from perceived.workspace import Workspace

LABELS = ("female", "male")


def answers(rows: int, sharpening: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are ``sharpening`` times too large, and labels drawn from the true ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (rows, 2))
    truth = (random.random(rows) < softmax(logits)[:, 1]).astype(int)
    return sharpening * logits, truth


@pytest.mark.parametrize("sharpening", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_scaling(sharpening: float) -> None:
    assert calibrate.fit_temperature(*answers(20_000, sharpening)) == pytest.approx(sharpening, rel=0.05)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(5, 80), st.floats(0.3, 4))
def test_no_other_temperature_makes_the_truth_likelier(seed: int, rows: int, sharpening: float) -> None:
    logits, truth = answers(rows, sharpening, seed)

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float((np.logaddexp(*scaled.T) - scaled[np.arange(rows), truth]).mean())

    found = calibrate.fit_temperature(logits, truth)
    assert all(
        loss(found) <= loss(found * factor) + 1e-9 for factor in (0.9, 0.99, 1.01, 1.1) if inside(found * factor)
    )


@pytest.mark.parametrize("power", [0.7, 1.0, 1.8])
def test_the_power_undoes_a_bend(power: float) -> None:
    logits, truth = answers(40_000, 1.0)
    centred = logits - logits.mean(axis=1, keepdims=True)
    bent = 1.5 * np.sign(centred) * np.abs(centred) ** (1 / power)
    temperature, found = calibrate.fit_power(bent, truth)
    assert found == pytest.approx(power, rel=0.05)
    probabilities = calibrated(bent, temperature, found)
    np.testing.assert_allclose(probabilities, softmax(logits), atol=0.02)


def inside(temperature: float) -> bool:
    return calibrate.TEMPERATURES[0] <= temperature <= calibrate.TEMPERATURES[1]


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float64, (9, 2), elements=st.floats(-30, 30)), st.floats(0.05, 20), st.floats(*calibrate.POWERS))
def test_a_power_never_changes_the_answer(logits: np.ndarray, temperature: float, power: float) -> None:
    told = calibrated(logits, temperature, power)
    assert (np.take_along_axis(told, logits.argmax(axis=1)[:, None], 1)[:, 0] == told.max(axis=1)).all()


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float64, (9, 2), elements=st.floats(-30, 30)), st.floats(0.05, 20), st.floats(0.05, 20))
def test_calibration_never_changes_the_answer(logits: np.ndarray, before: float, after: float) -> None:
    probabilities = softmax(logits / before)
    again = softmax(calibrate.to_logits(probabilities.astype(np.float64), before) / after)
    clear = np.abs(probabilities[:, 0] - probabilities[:, 1]) > 1e-4
    assert (probabilities.argmax(1) == again.argmax(1))[clear].all()


def test_logits_come_back_from_probabilities() -> None:
    logits = np.array([[3.0, -1.0], [0.5, 0.25], [-20.0, 20.0]])
    back = calibrate.to_logits(softmax(logits / 2).astype(np.float64), 2.0)
    np.testing.assert_allclose(back[:, 1] - back[:, 0], logits[:, 1] - logits[:, 0], rtol=1e-5, atol=1e-5)


def test_the_calibration_error_falls_where_answers_are_too_sure() -> None:
    logits, truth = answers(5_000, 3.0)
    spec_errors = []
    for temperature in (1.0, calibrate.fit_temperature(logits, truth)):
        probabilities = softmax(logits / temperature)
        correct = probabilities.argmax(1) == truth
        spec_errors.append(float(metrics.calibration_error(probabilities.max(1).astype(float), correct)))
    assert spec_errors[0] > 0.1
    assert spec_errors[1] < 0.02


confidences = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.61, 0.8, 0.99, 1.0]), st.booleans()), min_size=1)


@settings(deadline=None, max_examples=100)
@given(confidences, st.sampled_from([0.0, 0.03, 0.2, 0.5]))
def test_the_threshold_keeps_its_promise_and_none_smaller_does(found: list[tuple[float, bool]], target: float) -> None:
    confidence = np.array([value for value, _ in found])
    correct = np.array([right for _, right in found])
    errors = {value: (~correct[confidence >= value]).mean() for value in set(confidence.tolist())}
    good = [value for value, error in errors.items() if error <= target]
    if not good:
        with pytest.raises(SplitError, match="No threshold"):
            threshold.choose_threshold(confidence, correct, target)
        return
    chosen = threshold.choose_threshold(confidence, correct, target)
    answered = confidence >= chosen.value
    assert (~correct[answered]).mean() == pytest.approx(chosen.error)
    assert chosen.error <= target
    assert answered.mean() == pytest.approx(chosen.coverage)
    assert confidence[answered].min() == min(good)


@pytest.mark.parametrize("certainty", [0.0, 0.95])
def test_a_certain_threshold_keeps_its_promise_on_other_pictures(certainty: float) -> None:
    """Confidence, drawn evenly, is the true rate of right answers: thresholds below 0.8 let through more than 0.1."""
    random = np.random.default_rng(0)
    broken = answered = 0
    for _ in range(200):
        confidence = random.uniform(0.5, 1, 4000)
        chosen = threshold.choose_threshold(confidence, random.random(4000) < confidence, 0.1, certainty=certainty)
        broken += chosen.value < 0.8
        answered += chosen.coverage
    assert (broken <= 16) if certainty else (broken > 75), "of 200, 10 may break, and 16 by chance (p = 0.03)"
    assert answered / 200 > 0.3, "it keeps its promise by answering, and 40 % could be answered at best"


def test_pictures_of_few_people_promise_less() -> None:
    """20 pictures a person, alike: they count as fewer, so the threshold is surer and answers fewer."""
    random = np.random.default_rng(2)
    confidence, person = random.uniform(0.5, 1, 4000), np.repeat(np.arange(200), 20)
    right = random.random(200)[person] < confidence
    alone, again = (
        threshold.choose_threshold(confidence, right, 0.1, certainty=0.95, people=p) for p in (None, person)
    )
    assert alone.coverage > again.coverage
    assert alone.value < again.value
    notes = calibrate._notes(right, 1.0, People(person))
    assert any(note.startswith("4,000 pictures show about 200 people: the threshold reckons") for note in notes)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.5, 1)), min_size=1))
def test_pictures_of_one_person_are_one_to_the_threshold(rows: list[tuple[int, float]]) -> None:
    """The effect of the surest k pictures is the sum of squares of how many each person has, by their number."""
    people, confidence = (np.array(column) for column in zip(*rows, strict=True))
    surest = people[np.argsort(-confidence, kind="stable")]
    by_hand = [(np.bincount(surest[:k]) ** 2).sum() / k for k in range(1, len(rows) + 1)]
    assert threshold._alike(confidence, people).tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize(("counted", "least", "most"), [(True, 0, 6), (False, 12, 60)])
def test_people_whom_a_model_is_surely_wrong_about_do_not_break_the_promise(
    counted: bool, least: int, most: int
) -> None:
    """One person in fifty is surely read wrongly, on all of 20 pictures: often nobody of them is in the sample."""
    random, broken = np.random.default_rng(0), 0
    person = np.repeat(np.arange(200), 20)
    for _ in range(60):
        logit = random.normal(3.2, 2, 4000)
        turned = (random.random(200) < 0.02)[person]
        confidence = 1 / (1 + np.exp(-np.abs(logit)))
        people = person if counted else None
        try:
            chosen = threshold.choose_threshold(confidence, (logit > 0) != turned, 0.03, certainty=0.95, people=people)
        except SplitError:
            continue
        sure = 1 / (1 + np.exp(-np.abs(logits := random.normal(3.2, 2, 100_000)))) >= chosen.value
        error = (logits[sure] <= 0).mean()
        broken += 0.98 * error + 0.02 * (1 - error) > 0.03
    assert least <= broken <= most, "of 60, 3 may break, and 6 by chance"


def test_many_tries_make_no_promise_weaker() -> None:
    """Confidence says nothing, and every threshold lets a little too much through: nearly always none is found."""
    random = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        try:
            threshold.choose_threshold(random.random(2000), random.random(2000) > 0.031, 0.03, certainty=0.95)
        except SplitError:
            continue
        found += 1
    assert found <= 13, "of 150, 7 may be, and 13 by chance (p = 0.03)"


def test_few_pictures_promise_nothing() -> None:
    right = np.ones(90, bool)
    assert threshold.choose_threshold(np.full(90, 0.9), right, 0.03).coverage == 1
    with pytest.raises(SplitError, match=r"97\.0% of the answers right with a certainty of 95%[\s\S]*--certainty 0"):
        threshold.choose_threshold(np.full(90, 0.9), right, 0.03, certainty=0.95)
    assert threshold.choose_threshold(np.full(100, 0.9), np.ones(100, bool), 0.03, certainty=0.95).coverage == 1


def test_a_threshold_lies_half_way_so_that_no_last_digit_decides() -> None:
    confidence, correct = np.array([0.9, 0.8, 0.6]), np.array([True, True, False])
    assert threshold.choose_threshold(confidence, correct, 0.0).value == pytest.approx(0.7)


def test_risk_and_coverage_by_hand() -> None:
    values, coverage, risk = threshold.risk_coverage(
        np.array([0.9, 0.6, 0.6, 1.0]), np.array([True, False, True, True])
    )
    assert values.tolist() == [1.0, 0.9, 0.6]
    assert coverage.tolist() == [0.25, 0.5, 1.0]
    assert risk.tolist() == [0.0, 0.0, 0.25]


@pytest.fixture
def work(tmp_path: Path, picture: Callable[..., Path]) -> Path:
    """A split of 60 pictures that the tiny model, which takes bright ones for male, gets partly wrong."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(60):
        brightness = int(random.integers(60, 200))
        male = random.random() < 1 / (1 + math.exp(-(brightness - 128) / 32))
        path = picture(f"{i:03}.png", brightness)
        rows.append((path.name, str(path), LABELS[male], None, "val", ("a", "b", None)[i % 3]))
    folder = tmp_path / "work"
    folder.mkdir()
    schema = {"id": pl.String, "path": pl.String, "label": pl.String, "identity": pl.Int64}
    schema |= {"split": pl.String, "race": pl.String}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "split.parquet")
    return folder


def test_a_model_file_is_refitted(tiny_model: Path, work: Path, tmp_path: Path) -> None:
    out = tmp_path / "better.onnx"
    found = calibrate.calibrate(tiny_model, work, target_error=0.1, certainty=0, out=out)
    old, new = Classifier(tiny_model), Classifier(out)
    assert new.spec.temperature == found["temperature"]["after"] != old.spec.temperature
    assert new.spec.threshold == found["threshold"]["after"] > 0.5
    assert new.spec.provenance["calibration"]["pictures"] == 60
    split = pl.read_parquet(work / "split.parquet")
    assert new.spec.provenance["calibration"]["split_sha256"] == splits.fingerprint(split)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 4, 3), np.uint8)
    np.testing.assert_array_equal(new.logits(pixels), old.logits(pixels))
    report = json.loads((tmp_path / "better-calibration" / "calibration.json").read_text())
    assert report["threshold"]["error"] <= 0.1
    told = lineage.notes(new.spec, Workspace(work), "val")
    assert told[-1].startswith("Calibration and threshold were fitted to these pictures")
    split.with_columns(weight=2.0).write_parquet(work / "split.parquet")
    assert lineage.notes(new.spec, Workspace(work), "val")[-1] == told[-1], "weights make it no other split"
    split.write_parquet(work / "split.parquet")
    assert not any("were fitted" in note for note in lineage.notes(new.spec, Workspace(work), "test"))
    curve = report["risk_coverage"]
    assert [point["coverage"] for point in curve] == pytest.approx(threshold.COVERAGES, abs=1 / 20)
    assert curve[-1]["error"] == pytest.approx(1 - report["accuracy"])
    assert all(one["threshold"] >= other["threshold"] for one, other in itertools.pairwise(curve))
    assert set(report["groups"]) == {"label", "race"}
    assert {name: group["pictures"] for name, group in report["groups"]["race"].items()} == {"a": 20, "b": 20}
    assert (tmp_path / "better-calibration" / "risk-coverage.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_look_is_counted_and_kept(tiny_model: Path, work: Path, tmp_path: Path) -> None:
    found = calibrate.calibrate(
        tiny_model, work, target_error=0.1, certainty=0, mirror_below=1.5, out=tmp_path / "twice.onnx"
    )
    pictures = [images.load(path) for path in pl.read_parquet(work / "split.parquet")["path"]]
    doubtful = [abs(picture.mean() - 128) / 16 < 1.5 for picture in pictures]
    assert found["mirrored"] == {"below": 1.5, "share": pytest.approx(np.mean(doubtful))}
    assert 0 < found["mirrored"]["share"] < 1
    twice = Classifier(tmp_path / "twice.onnx").spec
    assert twice.mirror_below == 1.5
    assert twice.provenance["calibration"]["mirrored"] == found["mirrored"]
    again = calibrate.calibrate(
        tmp_path / "twice.onnx", work, target_error=0.1, certainty=0, out=tmp_path / "again.onnx"
    )
    assert again["mirrored"] == found["mirrored"], "without being told, the model's own is kept"


def test_the_threshold_holds_for_the_answers_of_the_file(tiny_model: Path, work: Path, tmp_path: Path) -> None:
    """What the report promises is what the new file does, down to the last digit of a float."""
    from perceived.scoring import score

    found = calibrate.calibrate(tiny_model, work, target_error=0.1, certainty=0, out=tmp_path / "better.onnx")
    model = Classifier(tmp_path / "better.onnx")
    scored = score(pl.read_parquet(work / "split.parquet"), model.probabilities, model.spec)
    answered = scored.filter(pl.col("confidence") >= model.spec.threshold)
    assert answered.height / 60 == pytest.approx(found["threshold"]["coverage"])
    assert (answered["label"] != answered["perceived_gender"]).mean() == pytest.approx(found["threshold"]["error"])


def test_answers_without_a_mistake_keep_the_temperature(
    make_model: Callable[..., Path], work: Path, tmp_path: Path
) -> None:
    rows = pl.read_parquet(work / "split.parquet")
    model = Classifier(make_model(tmp_path / "cold.onnx", temperature=0.7))
    from perceived.scoring import score

    told = score(rows, model.probabilities, model.spec)["perceived_gender"]
    rows.with_columns(label=told).write_parquet(work / "split.parquet")
    found = calibrate.calibrate(tmp_path / "cold.onnx", work, certainty=0)
    assert found["temperature"] == {"before": 0.7, "after": 0.7}
    assert found["threshold"]["after"] == 0.5
    assert any("No answer is wrong" in note for note in found["notes"])
    assert Path(found["file"]) == tmp_path / "cold-calibrated.onnx"


def test_what_cannot_be_calibrated_is_refused(tiny_model: Path, work: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rate"):
        calibrate.calibrate(tiny_model, work, target_error=1.5)
    with pytest.raises(ConfigError, match="certainty of 1"):
        calibrate.calibrate(tiny_model, work, certainty=1)
    with pytest.raises(ConfigError, match="is a folder"):
        calibrate.calibrate(tiny_model, work, target_error=0.4, out=tmp_path)
    with pytest.raises(ConfigError, match=r"examples\.parquet is no name for a model"):
        calibrate.calibrate(tiny_model, work, target_error=0.4, out=work / "examples.parquet")
    with pytest.raises(ConfigError, match="is the model itself"):
        calibrate.calibrate(tiny_model, work, target_error=0.4, out=tiny_model)
    with pytest.raises(ModelFileError, match="is a folder, not a model file"):
        calibrate.calibrate(tmp_path, work)
    rows = pl.read_parquet(work / "split.parquet")
    wrong = pl.when(pl.col("label") == "male").then(pl.lit("female")).otherwise(pl.lit("male"))
    rows.with_columns(label=wrong).write_parquet(work / "split.parquet")
    with pytest.raises(SplitError, match="No threshold"):
        calibrate.calibrate(tiny_model, work, target_error=0.0, out=tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def bent_answers(wrong: int) -> pl.DataFrame:
    """Return answers, scored mildly, to so many pictures that ``wrong`` are wrong; a power of 1.8 mends their bend."""
    logits, truth = answers(4000, 1.0, seed=1)
    centred = logits - logits.mean(axis=1, keepdims=True)
    bent = np.sign(centred) * np.abs(centred) ** (1 / 1.8)
    mild = softmax(bent / calibrate._MILD)
    columns = {f"probability_{label}": mild[:, i] for i, label in enumerate(LABELS)}
    scored = pl.DataFrame({"label": [LABELS[i] for i in truth], **columns})
    return scored[: int(np.flatnonzero(logits.argmax(axis=1) != truth)[wrong - 1]) + 1]


def test_a_power_is_fitted_from_a_hundred_wrong_answers_on_and_is_none_below(tiny_model: Path) -> None:
    before = dataclasses.replace(Classifier(tiny_model).spec, power=1.5)
    for wrong, power in ((100, pytest.approx(1.8, rel=0.2)), (99, 1.0)):
        scored = bent_answers(wrong)
        spec, found, _ = calibrate.fit(scored, before, target_error=0.3, certainty=0)
        assert scored.height * (1 - found["accuracy"]) == pytest.approx(wrong)
        assert found["power"] == {"before": 1.5, "after": power}
        assert spec.power == found["power"]["after"]


def test_a_group_s_error_is_of_its_answers_and_not_of_its_pictures() -> None:
    rows = [("a", 0.9, True), ("a", 0.8, False), ("a", 0.6, False), ("a", 0.6, True), ("b", 0.6, True)]
    scored = pl.DataFrame({"label": "male", "race": [race for race, *_ in rows]})
    confidence, correct = (np.array([row[i] for row in rows]) for i in (1, 2))
    assert calibrate.abstention(scored, confidence, correct, 0.7) == {
        "label": {"male": {"pictures": 5, "abstention": pytest.approx(0.6), "error": 0.5}},
        "race": {
            "a": {"pictures": 4, "abstention": 0.5, "error": 0.5},
            "b": {"pictures": 1, "abstention": 1.0, "error": None},
        },
    }


def test_a_column_of_a_value_for_each_picture_is_no_grouping() -> None:
    scored = pl.DataFrame({"label": "male", "file": [f"{i}" for i in range(31)], "race": ["a", "b", *["c"] * 29]})
    found = calibrate.abstention(scored, np.ones(31), np.ones(31, bool), 0.5)
    assert set(found) == {"label", "race"}
    found = calibrate.abstention(scored[:30], np.ones(30), np.ones(30, bool), 0.5)
    assert set(found) == {"label", "race", "file"}, "of thirty values, not of more"


def test_an_answer_as_sure_as_the_threshold_is_one() -> None:
    scored = pl.DataFrame({"label": ["male"] * 2})
    found = calibrate.abstention(scored, np.array([0.7, 0.7]), np.array([True, False]), 0.7)
    assert found["label"]["male"] == {"pictures": 2, "abstention": 0.0, "error": 0.5}


def test_no_probability_is_so_small_that_no_logit_comes_back() -> None:
    assert np.isfinite(calibrate.to_logits(np.array([[0.0, 1.0]]), 20.0)).all()


@pytest.mark.parametrize(("wrong", "rough"), [(29, True), (30, False)])
def test_fewer_than_thirty_wrong_answers_are_few(wrong: int, rough: bool) -> None:
    correct = np.arange(1000) >= wrong
    notes = calibrate._notes(correct, 1.0, People(np.arange(1000)))
    assert any(note.startswith(f"Only {wrong} answers are wrong") for note in notes) == rough


def test_where_people_come_back_their_pictures_count_as_fewer(tiny_model: Path) -> None:
    scored, spec = bent_answers(100), Classifier(tiny_model).spec
    few = scored.with_columns(identity=pl.int_range(pl.len()) // 5)
    (_, alone, _), (_, again, _) = (calibrate.fit(rows, spec, target_error=0.2) for rows in (scored, few))
    assert alone["threshold"]["coverage"] > again["threshold"]["coverage"]
    assert any("may be wrong together" in note for note in again["notes"])
    assert not any("may be wrong together" in note for note in alone["notes"])


def test_the_calibration_error_of_before_is_that_of_the_old_confidence(tiny_model: Path) -> None:
    _, found, _ = calibrate.fit(bent_answers(100), Classifier(tiny_model).spec, target_error=0.3, certainty=0)
    assert found["calibration_error"]["before"] > found["calibration_error"]["after"] + 0.02


def test_a_folder_that_cannot_be_written_is_told_before_any_picture_is_scored(
    tiny_model: Path, work: Path, in_the_way: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "score", lambda *_, **__: pytest.fail("pictures were scored"))
    with pytest.raises(StorageError, match="cannot be written"):
        calibrate.calibrate(tiny_model, work, out=in_the_way / "better.onnx")


def test_pictures_that_cannot_be_read_are_counted(tiny_model: Path, work: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(work / "split.parquet")
    Path(rows["path"][7]).write_bytes(b"no picture")
    Path(rows["path"][30]).unlink()
    out = tmp_path / "better.onnx"
    found = calibrate.calibrate(tiny_model, work, target_error=0.1, certainty=0, out=out)
    assert (found["unreadable"], found["pictures"]) == (2, 58)
    assert found["mirrored"]["share"] == 0, "what was never looked at was not looked at twice"
    assert Classifier(out).spec.provenance["calibration"]["unreadable"] == 2


@pytest.mark.parametrize(
    ("learnt", "on", "told"),
    [(True, "val", None), (True, "train", "These are training pictures"), (False, "val", "learnt on another split")],
)
def test_a_model_fitted_to_what_it_has_learnt_says_so_but_for_its_own_validation_pictures(
    make_model: Callable[..., Path], work: Path, tmp_path: Path, learnt: bool, on: str, told: str | None
) -> None:
    split = pl.read_parquet(work / "split.parquet").with_columns(split=pl.lit(on))
    split.write_parquet(work / "split.parquet")
    pictures = splits.pictures_fingerprint(split) if learnt else "0" * 64
    courses = {"one": {"seconds": 1.0, "pictures_sha256": pictures}}
    model = make_model(tmp_path / "m.onnx", provenance={"courses": courses})
    found = calibrate.calibrate(model, work, on=on, target_error=0.1, certainty=0)
    of_fit = ("Fitted and measured on the same pictures", "Only ")
    of_past = [note for note in found["notes"] if not note.startswith(of_fit)]
    assert len(of_past) == (told is not None)
    assert told is None or told in of_past[0]
