"""Comparing networks: the same budget for all, resumed after a kill, and a leaderboard that is right."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perceived import compare, leaderboard, recipes, scoring, storage, train as training
from perceived.errors import ConfigError, DivergedError, ImageError, ResumeError, SplitError, WeightsError
from perceived.schedule import Schedule

NETWORKS = ["test_resnet", "resnet10t"]
Compared = tuple[Path, dict[str, Any], list[str]]


@pytest.fixture(scope="module", autouse=True)
def time_for_any_validation() -> Iterator[None]:
    """These budgets are of less than a second, most of which a busy machine may take to validate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "MOST_VALIDATING", 1e6)
        yield


@pytest.fixture(scope="module")
def compared(
    tiny_work: Path, settings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[str]]:
    """A comparison that was killed while it trained, and then finished; and the runs that were trained at the end."""
    out = tmp_path_factory.mktemp("comparison")
    budget: dict[str, Any] = {"minutes": 0.01, "seeds": 2, "settings": settings}
    original, trained = training.train, []
    with pytest.MonkeyPatch.context() as patch:

        def killed(work: Path, recipe: recipes.Recipe, folder: Path, **rest: Any) -> Any:
            if folder.name == "test_resnet-seed1":
                raise KeyboardInterrupt
            return original(work, recipe, folder, **rest)

        patch.setattr(training, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            compare.compare(tiny_work, NETWORKS, out, **budget)

        def record(work: Path, recipe: recipes.Recipe, folder: Path, **rest: Any) -> Any:
            trained.append(folder.name)
            if recipe.backbone == "resnet14t":
                raise WeightsError("The weights of resnet14t are out of reach.")
            return original(work, recipe, folder, **rest)

        patch.setattr(training, "train", record)
        compare.compare(tiny_work, NETWORKS, out, **budget)
        found = compare.compare(tiny_work, [*NETWORKS, "resnet14t"], out, **budget)
    return out, found, trained


def test_a_killed_comparison_goes_on_with_what_is_missing(compared: Compared) -> None:
    assert compared[2] == ["test_resnet-seed1", "resnet10t-seed0", "resnet10t-seed1", "resnet14t"]


def test_the_leaderboard_holds_every_network(compared: Compared) -> None:
    out, found, _ = compared
    assert {row["backbone"] for row in found["leaderboard"]} == set(NETWORKS)
    assert list(found["left_out"]) == ["resnet14t"]
    for row in found["leaderboard"]:
        answers = [
            pl.read_parquet(out / "runs" / f"{row['backbone']}-seed{seed}" / "answers.parquet") for seed in (0, 1)
        ]
        shares = [float((table["perceived_gender"] == table["label"]).mean()) for table in answers]  # type: ignore[arg-type]
        assert row["seeds"] == pytest.approx(shares)
        assert row["accuracy"]["value"] == pytest.approx(np.mean(shares))
        assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]
        assert row["flops"] > row["parameters"] > 100_000
        assert 0 < row["latency_ms"] < 10_000
        assert (out / "models" / row["model"]).stat().st_size / 1e6 == pytest.approx(row["megabytes"])
    test = found["tests"][0]
    assert {test["first"], test["second"]} == set(NETWORKS)
    assert test["p_holm"] == test["p"]
    assert found["test"] == leaderboard.SIGN_FLIP, "people have two pictures each"
    assert "sign flips by person" in (out / "leaderboard.md").read_text()
    assert "changes its sign at random" in (out / "leaderboard.html").read_text()
    for name in ("leaderboard.html", "leaderboard.md", "pareto.png"):
        assert (out / name).stat().st_size > 500
    assert "resnet14t is left out" in (out / "leaderboard.html").read_text()


def test_a_call_for_networks_that_cannot_be_had_alone_says_so(
    compared: Compared, tiny_work: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise WeightsError("The weights of resnet14t are out of reach.")

    monkeypatch.setattr(training, "train", refuse)
    with pytest.raises(WeightsError, match="No backbone can be compared: The weights of resnet14t"):
        compare.compare(tiny_work, ["resnet14t"], compared[0], minutes=0.01, seeds=2, settings=settings)


def test_networks_trained_at_the_same_time_come_in_their_order(
    compared: Compared, tiny_work: Path, settings: list[str]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = compare.compare(
            tiny_work,
            NETWORKS,
            compared[0],
            minutes=0.01,
            seeds=2,
            settings=settings,
            run_all=lambda function, jobs: pool.map(lambda job: function(*job), jobs),
        )
    for key in ("leaderboard", "tests"):
        for row, before in zip(found[key], compared[1][key], strict=True):
            same = row.keys() - {"latency_ms"}
            assert {name: row[name] for name in same} == {name: before[name] for name in same}


def test_a_network_that_diverges_is_left_out_and_the_others_are_ranked(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.train

    def train(work: Path, recipe: recipes.Recipe, folder: Path, **rest: Any) -> Any:
        if folder.name == "resnet10t-seed0":
            raise DivergedError("The network stopped making sense.")
        return original(work, recipe, folder, **rest)

    monkeypatch.setattr(training, "train", train)
    found = compare.compare(tiny_work, NETWORKS, tmp_path, minutes=0.01, seeds=1, settings=settings)
    assert [row["backbone"] for row in found["leaderboard"]] == ["test_resnet"]
    assert found["left_out"] == {"resnet10t": "The network stopped making sense."}


def test_a_drive_that_drops_out_while_scoring_lowers_no_accuracy_for_good(
    compared: Compared, tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "comparison"
    shutil.copytree(compared[0], out)
    kept = out / "runs" / "resnet10t-seed0" / "answers.parquet"
    failed = ["perceived_gender", "confidence", "probability_female", "probability_male"]
    before = pl.read_parquet(kept)
    away = before.with_columns(*(pl.lit(None).alias(name) for name in failed), error=pl.lit("The drive is gone."))
    away.cast(dict(before.schema)).write_parquet(kept)
    found = compare.compare(tiny_work, NETWORKS, out, minutes=0.01, seeds=2, settings=settings)
    assert pl.read_parquet(kept).select("id", failed[0]).equals(before.select("id", failed[0]))
    assert {row["backbone"]: row["seeds"] for row in found["leaderboard"]} == {
        row["backbone"]: row["seeds"] for row in compared[1]["leaderboard"]
    }
    kept.unlink()
    monkeypatch.setattr(scoring.images, "load", lambda path: (_ for _ in ()).throw(ImageError(f"{path} is gone.")))
    with pytest.raises(SplitError, match="Of 20 pictures, none can be read"):
        compare.compare(tiny_work, NETWORKS, out, minutes=0.01, seeds=2, settings=settings)
    assert not kept.exists()


def test_the_same_split_in_another_file_is_the_same_comparison(
    compared: Compared, tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "comparison"
    shutil.copytree(tiny_work, work, ignore=shutil.ignore_patterns("cache", "pictures"))
    shutil.copytree(compared[0], out)
    monkeypatch.setattr(leaderboard, "entry", lambda name, *_: {"backbone": name})
    monkeypatch.setattr(leaderboard, "rank", lambda entries, _: {"leaderboard": entries})
    monkeypatch.setattr(compare.leaderboard_page, "write", lambda *_: None)
    budget: dict[str, Any] = {"minutes": 0.01, "seeds": 2, "settings": settings}
    pl.read_parquet(work / "split.parquet").write_parquet(work / "split.parquet", compression="uncompressed")
    assert (work / "split.parquet").read_bytes() != (tiny_work / "split.parquet").read_bytes()
    compare.compare(work, NETWORKS, out, **budget)
    pl.read_parquet(work / "split.parquet").head(80).write_parquet(work / "split.parquet")
    with pytest.raises(ResumeError, match="its split_sha256 is"):
        compare.compare(work, NETWORKS, out, **budget)


def test_another_budget_is_another_comparison(compared: Compared, tiny_work: Path, settings: list[str]) -> None:
    with pytest.raises(ResumeError, match="its minutes is"):
        compare.compare(tiny_work, NETWORKS, compared[0], minutes=9, seeds=2, settings=settings)


def test_a_name_that_is_none_is_told_before_anything_is_begun(
    tiny_work: Path, tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("begun"))
    with pytest.raises(ConfigError, match="no backbone named 'nope'"):
        compare.compare(tiny_work, ["resnet10t", "nope"], tmp_path / "out", minutes=1, seeds=1, settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_plan_of_which_nothing_was_trained_binds_nobody(
    tiny_work: Path, tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "_run", stop)
    for minutes in (0.01, 0.02):
        with pytest.raises(KeyboardInterrupt):
            compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=minutes, seeds=1, settings=settings)
        assert storage.read_json(tmp_path / "plan.json")["minutes"] == minutes


def test_what_makes_no_comparison_is_refused(tiny_work: Path, tmp_path: Path, settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="no comparison"):
        compare.compare(tiny_work, [], tmp_path, minutes=1)
    with pytest.raises(ConfigError, match="no comparison"):
        compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=0)
    with pytest.raises(ConfigError, match="no comparison"):
        compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=math.inf)
    with pytest.raises(ConfigError, match="learn from"):
        compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=1, on="train")
    with pytest.raises(ConfigError, match="no backbone named"):
        compare.compare(tiny_work, ["no_such_net"], tmp_path, minutes=1, settings=settings)


@pytest.mark.parametrize("validating", [0.004, 0.015])
@pytest.mark.parametrize("minutes", [2, 4, 10, 33])
def test_a_budget_pays_for_every_validation_and_the_one_at_the_end(minutes: float, validating: float) -> None:
    recipe = dataclasses.replace(compare.recipe_for("resnet10t", "fast"), validate_every=12_000)
    assert recipe.frozen == ()
    probe = {"image_steps": 384, "seconds": 10.0 + 256 * validating, "validation_seconds": 256 * validating}
    per_picture = 10 / 384

    epochs = compare.affordable_epochs(recipe, minutes, probe, 20_000, 5_000)
    schedule = Schedule(dataclasses.replace(recipe, epochs=epochs), 20_000)
    validations = sum(schedule.validates_after(step) for step in range(schedule.steps))
    seconds = per_picture * schedule.steps * schedule.batch_size + validating * 5_000 * validations
    room = validating * 5_000 + per_picture * schedule.batch_size
    assert minutes * 60 - room < seconds < minutes * 60 + per_picture * schedule.batch_size


@pytest.mark.parametrize("train", [20_000, 1_000_000])
def test_a_budget_too_small_for_a_validation_is_a_step(train: int) -> None:
    recipe = compare.recipe_for("resnet10t", "fast")
    probe = {"image_steps": 384, "seconds": 13.0, "validation_seconds": 3.0}
    epochs = compare.affordable_epochs(recipe, 0.1, probe, train, 5_000)
    assert Schedule(dataclasses.replace(recipe, epochs=epochs), train).steps == 1


def test_a_backbone_that_has_no_time_to_learn_is_left_out_and_a_larger_budget_mends_it(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "MOST_VALIDATING", 0.5)
    with pytest.raises(WeightsError, match=r"Validating resnet10t takes \d+ of 0 seconds") as caught:
        compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=1e-6, seeds=1, settings=settings)
    assert "--budget" in caught.value.mend
    monkeypatch.setattr(compare, "MOST_VALIDATING", 1e6)
    found = compare.compare(tiny_work, ["resnet10t"], tmp_path, minutes=0.01, seeds=1, settings=settings)
    assert found["left_out"] == {}


def run(right: list[int], val_accuracy: float = 0.9) -> leaderboard.Run:
    said = ["male" if r else "female" for r in right]
    answers = pl.DataFrame({"label": ["male"] * len(right), "perceived_gender": said, "identity": [None] * len(right)})
    return leaderboard.Run(Path(), answers.cast({"identity": pl.Int64}), {"val_accuracy": val_accuracy})


def test_accuracy_is_the_mean_over_seeds() -> None:
    found = leaderboard.accuracy([run([1, 1, 0, 1]), run([1, 0, 0, 1])])
    assert found.value == pytest.approx(5 / 8)
    assert leaderboard.best([run([1], 0.8), run([0], 0.9)]).result["val_accuracy"] == 0.9


def test_the_interval_of_a_networks_accuracy_knows_that_seeds_differ() -> None:
    seeds = [run([1] * share + [0] * (1000 - share)) for share in (908, 822)]
    found, alone = leaderboard.accuracy(seeds), leaderboard.accuracy(seeds[:1])
    assert found.value == pytest.approx(0.865)
    assert found.low < 0.822 < 0.908 < found.high
    assert (alone.low, alone.high) == (pytest.approx(0.890, abs=0.005), pytest.approx(0.925, abs=0.005))


def test_a_test_counts_every_seed_as_the_ranking_does() -> None:
    """The network with the one best seed is the worse one by the mean of its seeds."""
    steady = np.array([[1] * 90 + [0] * 10] * 2, bool)
    lucky = np.array([[1] * 95 + [0] * 5, [1] * 60 + [0] * 40], bool)
    each = leaderboard.differences(steady, lucky)
    assert each.sum() == 2 * (steady.sum() - lucky.sum())
    assert ((each > 0).sum(), (each < 0).sum()) == (30, 5)
    assert leaderboard.difference_p(each, np.arange(100), leaderboard.SIGN_FLIP_PICTURES) < 0.001
    entries = [
        {"backbone": name, "accuracy": {"value": right.mean()}, "latency_ms": 1.0, "right": right}
        for name, right in (("lucky", lucky), ("steady", steady))
    ]
    found = leaderboard.rank(entries, np.arange(100))
    assert (found["leaderboard"][0]["backbone"], found["test"]) == ("steady", leaderboard.SIGN_FLIP_PICTURES)


def test_a_picture_without_an_answer_is_not_right() -> None:
    tried = dataclasses.replace(
        run([1, 1]), answers=run([1, 1]).answers.with_columns(perceived_gender=pl.Series(["male", None]))
    )
    assert tried.right.tolist() == [True, False]


def test_ranking_tests_pairs_on_the_same_pictures() -> None:
    def entry(name: str, right: list[int], latency: float) -> dict[str, Any]:
        return {
            "backbone": name,
            "accuracy": {"value": np.mean(right)},
            "latency_ms": latency,
            "right": np.array([right], bool),
        }

    first, second = [1] * 18 + [0] * 2, [1] * 10 + [0] * 10
    entries = [entry("slow", second, 9.0), entry("good", first, 3.0), entry("quick", second, 1.0)]
    found = leaderboard.rank(entries, np.arange(20))
    assert found["test"] == leaderboard.MCNEMAR
    assert [row["backbone"] for row in found["leaderboard"]] == ["good", "quick", "slow"]
    assert [row["pareto"] for row in found["leaderboard"]] == [True, True, False]
    pair = next(t for t in found["tests"] if (t["first"], t["second"]) == ("good", "quick"))
    assert (pair["only_first"], pair["only_second"], pair["p"]) == (8, 0, pytest.approx(2 / 2**8))
    json.dumps(found)


def test_pictures_of_one_person_are_no_independent_evidence() -> None:
    """Under the null, with four identical outcomes a person, a share a of the p-values lies below a."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(4000), 4)
    by_person, by_picture = [], []
    for _ in range(400):
        first, second = (np.repeat(random.random(4000) < 0.85, 4) for _ in range(2))
        each = leaderboard.differences(first[None], second[None])
        by_person.append(leaderboard.difference_p(each, groups, leaderboard.SIGN_FLIP))
        by_picture.append(leaderboard.difference_p(each, np.arange(16_000), leaderboard.MCNEMAR))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(by_person) <= level) == pytest.approx(level, abs=0.06)
    assert 0.02 <= np.mean(np.array(by_person) <= 0.05) <= 0.07
    assert np.mean(np.array(by_picture) <= 0.05) > 0.2, "McNemar's test takes them as four"


def test_the_pareto_front_has_no_point_that_another_beats() -> None:
    points = [(1.0, 0.8), (2.0, 0.9), (2.0, 0.85), (3.0, 0.9), (4.0, 0.95), (1.0, 0.8)]
    assert leaderboard.pareto(points) == [True, True, False, False, True, True]
