"""Training end to end on a tiny workspace: what it leaves behind, and that nothing is ever lost."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file

from perceived import checkpoint, export, from_onnx, frozen, lineage, recipes, storage, train as training
from perceived.checkpoint import Run, TrainedModel
from perceived.classifier import Classifier
from perceived.data import cache, feed
from perceived.data.augment import Augmentation
from perceived.errors import ConfigError, DataError, DivergedError, ModelFileError, ResumeError
from perceived.model import Network
from perceived.pages import curves
from perceived.recipes import Recipe
from perceived.spec import LABELS
from perceived.workspace import Workspace

GROWING = "sizes=[[0, 24, 24], [0.5, 32, 32]]"


def model_bytes(run: Path) -> dict[str, torch.Tensor]:
    return load_file(Run(run).best / "model.safetensors")


def last_state(run: Path) -> dict[str, torch.Tensor]:
    (path,) = Run(run).last.glob("step-*.safetensors")
    return load_file(path)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Read a run's TensorBoard events: name to pairs of step and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    unequal = [key for key in one if not torch.equal(one[key], other[key])]
    assert unequal == []


KILLED = """
import json, os, signal, sys
from pathlib import Path
from perceived import recipes, tensors, train
train.SAVE_SECONDS = 0.0
work, out, step, recipe = sys.argv[1:]
save = tensors.save_file
def die(state, path, **settings):
    save(state, path, **settings)
    if path.name == f"step-{int(step):08d}.safetensors":
        os.kill(os.getpid(), signal.SIGKILL)
tensors.save_file = die
train.train(Path(work), recipes.from_dict(json.loads(recipe)), Path(out), quiet=True)
"""


def train_until_killed(work: Path, recipe: Recipe, out: Path, *, step: int) -> subprocess.CompletedProcess[str]:
    """Train in another process, which is killed while it writes the resume state of ``step``."""
    arguments = [str(work), str(out), str(step), json.dumps(recipe.to_dict())]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def recipe(tiny: tuple[str, ...]) -> Recipe:
    return recipes.get("fast", [*tiny, GROWING, "learning_rate=2e-3", "dropout=0.3", "precision=bf16"])


@pytest.fixture(scope="module")
def watched() -> list[tuple[int, int, float]]:
    """What was seen of the finished run after each validation: its step, the last event's step, and that one's age."""
    return []


@pytest.fixture(scope="module")
def run(
    tiny_work: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory, watched: list[tuple[int, int, float]]
) -> Path:
    """A finished run that nothing interrupted."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path_factory.mktemp("runs") / "whole"

    def look(line: Mapping[str, Any]) -> None:
        event = EventAccumulator(str(out)).Reload().Scalars("val_loss")[-1]
        watched.append((line["step"], event.step, time.time() - event.wall_time))

    training.train(tiny_work, recipe, out, after_validation=look, quiet=True)
    return out


def test_a_run_leaves_everything_the_next_stages_read(run: Path, recipe: Recipe) -> None:
    lines = [json.loads(line) for line in Run(run).metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1.0, 2.0, 3.0]
    assert [line["size"] for line in lines] == [[24, 24], [32, 32], [32, 32]]
    config = json.loads(Run(run).config.read_text())
    assert recipes.from_dict(config["recipe"]) == recipe
    assert config["environment"]["threads"] == torch.get_num_threads()
    assert Run(run).curves.read_bytes().startswith(b"\x89PNG")
    assert scalars(run) == {
        name: [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines] for name in curves.SCALARS
    }
    pictures = np.load(Run(run).check_pictures, allow_pickle=False)
    assert pictures.shape[1:] == (32, 32, 3)


def test_it_learns_and_its_model_answers_as_validation_said(run: Path, tiny_work: Path) -> None:
    from perceived.data import feed

    model = TrainedModel.load(run)
    assert model.spec.labels == LABELS
    recorded = model.spec.metrics["validation"]["val_accuracy"]
    assert recorded > 0.8
    pictures = feed.load(tiny_work, recipes.get("demo"), model.spec.preprocessing)
    answers = model.probabilities(pictures.val)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert abs((answers.argmax(axis=1) == pictures.val_labels).mean() - recorded) <= 0.1


@pytest.mark.parametrize("step", [9, 12])
def test_killed_at_any_moment_it_ends_with_the_same_bits(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path, step: int
) -> None:
    """Within the second of three epochs, or when its validation is written down and the state is not."""
    out = tmp_path / "killed"
    killed = train_until_killed(tiny_work, recipe, out, step=step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = json.loads((Run(out).last / "state.json").read_text())
    assert (recipe.precision, state["progress"]["step"]) == ("bf16", step - 1)
    assert [line["step"] for line in Run(out).history()] == ([6] if step == 9 else [6, 12])
    assert any(Run(out).last.glob(f".*{storage.HOLDER}")), "a state was being written"
    training.train(tiny_work, recipe, out, quiet=True)
    assert not any(Run(out).last.glob(f".*{storage.HOLDER}"))
    assert_equal(last_state(out), last_state(run))
    assert_equal(model_bytes(out), model_bytes(run))
    assert scalars(out) == scalars(run), "the events of both parts stand in one file"
    without_time = [re.sub(r'"(validation_)?seconds": [0-9.]+', "", Run(r).metrics.read_text()) for r in (out, run)]
    assert without_time[0] == without_time[1]


def test_damage_to_what_a_run_keeps_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics.write_text('{"step": 1}\n\0\0\0')
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged"):
        run.history()
    run.last.mkdir()
    (run.last / "state.json").write_text("[]")
    with pytest.raises(ModelFileError, match=r"resume state in .* is damaged"):
        checkpoint.load_state(run.last)


def test_a_run_can_be_watched_while_it_goes_on(run: Path, watched: list[tuple[int, int, float]]) -> None:
    assert [steps for *steps, _ in watched] == [[6, 6], [12, 12], [18, 18]]
    assert all(0 <= age < 60 for *_, age in watched)


def test_a_run_says_where_it_goes_on_otherwise(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    training.train(tiny_work, recipe, out)
    assert "bit for bit" not in capsys.readouterr().err
    config = json.loads(Run(out).config.read_text())
    assert config["environment"]["processor"]
    config["environment"] |= {"processor": "An abacus", "threads": 77}
    config["environment"]["versions"]["torch"] = "0.1"
    storage.write_json(Run(out).config, config)
    training.train(tiny_work, recipe, out)
    said = " ".join(capsys.readouterr().err.split())
    for change in ("processor An abacus", "threads 77", "torch 0.1"):
        assert f"This run was begun with {change} and goes on with " in said
    assert json.loads(Run(out).config.read_text()) == config, "the record of how it began stands"


def test_a_finished_run_is_left_as_it_is(run: Path, tiny_work: Path, recipe: Recipe) -> None:
    before = model_bytes(run)
    training.train(tiny_work, recipe, run, quiet=True)
    assert_equal(model_bytes(run), before)
    assert len(Run(run).metrics.read_text().splitlines()) == 3


def test_two_do_not_train_into_one_folder(
    run: Path, tiny_work: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage.alone_in(run), monkeypatch.context() as still:
        still.setattr(training, "prepare_run", lambda *_, **__: pytest.fail("it was begun before it was refused"))
        with pytest.raises(ResumeError, match="Another process is at work in"):
            training.train(tiny_work, recipe, run, quiet=True)
    training.train(tiny_work, recipe, run, quiet=True)


def test_another_split_is_refused_before_a_picture_is_read(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.read_parquet(tiny_work / "split.parquet")[:-1].write_parquet(tmp_path / "split.parquet")
    monkeypatch.setattr(feed, "load", lambda *_, **__: pytest.fail("pictures were read"))
    with pytest.raises(ResumeError, match="holds another run: its data split_sha256"):
        training.train(tmp_path, recipe, run, quiet=True)


def test_a_recipe_is_read_from_a_run(run: Path, recipe: Recipe, tmp_path: Path) -> None:
    assert recipes.get(str(run / "config.json")) == recipe
    assert recipes.get(str(run / "config.json"), ["seed=9"]) == dataclasses.replace(recipe, seed=9)
    (tmp_path / "config.json").write_text("{}")
    for name, words in (("config.json", "holds no recipe"), ("gone.json", "does not exist")):
        with pytest.raises(DataError, match=words):
            recipes.get(str(tmp_path / name))


def test_a_run_in_the_present_folder_bears_its_name(
    tiny_work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named").mkdir()
    monkeypatch.chdir(tmp_path / "named")
    training.train(tiny_work.resolve(), dataclasses.replace(recipe, epochs=0.1), Path(), quiet=True)
    assert TrainedModel.load(tmp_path / "named").spec.name == "named"


def test_a_run_of_another_recipe_is_not_resumed(run: Path, tiny_work: Path, tiny: tuple[str, ...]) -> None:
    with pytest.raises(ResumeError, match=r"its recipe .* is"):
        training.train(tiny_work, recipes.get("fast", [*tiny, "batch_size=4"]), run, quiet=True)


def test_a_run_goes_on_though_its_recipe_lacks_settings_of_a_later_version(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    config = json.loads(Run(out).config.read_text())
    for part, key in ((config["recipe"], "margin"), (config["recipe"]["augmentation"], "color")):
        del part[key]
    del config["recipe"]["degradation"]["cover"]
    storage.write_json(Run(out).config, config)
    plain = dataclasses.replace(
        recipe,
        augmentation=dataclasses.replace(recipe.augmentation, color=0.0),
        degradation=dataclasses.replace(recipe.degradation, cover=0.0),
    )
    training.train(tiny_work, plain, out, quiet=True)
    with pytest.raises(ResumeError, match="its recipe augmentation is"):
        training.train(tiny_work, dataclasses.replace(plain, augmentation=Augmentation(color=0.5)), out, quiet=True)


def test_a_run_of_another_recipe_is_refused_before_anything_is_decoded(
    run: Path, tiny_work: Path, tiny: tuple[str, ...]
) -> None:
    kept = sorted((tiny_work / "cache").iterdir())
    with pytest.raises(ResumeError, match="its recipe sizes is"):
        training.train(tiny_work, recipes.get("fast", [*tiny, "sizes=[[0, 40, 30]]"]), run, quiet=True)
    assert sorted((tiny_work / "cache").iterdir()) == kept


def test_a_run_from_another_starting_point_is_not_resumed(run: Path, tiny_work: Path, recipe: Recipe) -> None:
    with pytest.raises(ResumeError, match="its weights init_sha256 is None"):
        training.train(tiny_work, recipe, run, init=run, quiet=True)


def test_early_stopping_ends_a_run_that_no_longer_improves(
    tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    stubborn = recipes.get("fast", [*tiny, "epochs=9", "learning_rate=1e-9", "head_learning_rate=1e-9", "patience=2"])
    last = training.train(tiny_work, stubborn, tmp_path / "run", quiet=True)
    assert last["epoch"] == 3, "the first, and two no better"


def test_the_head_may_learn_at_another_rate(tiny_work: Path, settings: list[str], tmp_path: Path) -> None:
    rates = {"still": "head_learning_rate=1e-9", "learning": "head_learning_rate=0.1"}
    for name, rate in rates.items():
        asked = [*settings, "epochs=1", "learning_rate=1e-9", "weight_decay=0", "ema_decay=0", rate]
        training.train(tiny_work, recipes.get("fast", asked), tmp_path / name, quiet=True)
    still, learning = (model_bytes(tmp_path / name) for name in rates)
    moved = {key: (still[key] - learning[key]).abs().max().item() for key in still if still[key].is_floating_point()}
    head = {key for key in moved if key.startswith("head.")}
    assert head
    assert max(moved[key] for key in head) > 1e-2
    assert max(moved[key] for key in moved.keys() - head) < 1e-5


def test_what_training_learns_is_told_of_each_validation_anew_and_saved_now_and_then(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, saves, validate, clock = [], [], training._validate, itertools.count()

    def note(learner: Any, *rest: Any) -> dict[str, Any]:
        seen.append(int(learner.sums[2]))
        return validate(learner, *rest)

    monkeypatch.setattr(training, "_validate", note)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    monkeypatch.setattr(training, "SAVE_SECONDS", 7)
    recipe = recipes.get("fast", settings)
    training.train(tiny_work, recipe, tmp_path / "run", on_saved=lambda: saves.append(next(clock)), quiet=True)
    shown = [line["image_steps"] for line in Run(tmp_path / "run").history()]
    assert seen == np.diff([0, *shown]).tolist()
    steps = shown[-1] // recipe.batch_size
    assert len(shown) + 1 < len(saves) <= steps // 2, "after validations, at the end, and now and then between"


def test_cached_features_train_only_the_head(tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    recipe = recipes.get("last-layer", [*tiny, "precision=fp32"])
    work = tmp_path / "work"
    shutil.copytree(tiny_work, work, ignore=shutil.ignore_patterns("cache"))
    training.train(work, recipe, tmp_path / "run", quiet=True)
    again = training.train(work, recipe, tmp_path / "again", quiet=True)
    one, other = model_bytes(tmp_path / "run"), model_bytes(tmp_path / "again")
    assert_equal(one, other)
    lines = [json.loads(line) for line in Run(tmp_path / "run").metrics.read_text().splitlines()]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"], "the head learns"
    assert again == lines[-1] | {name: again[name] for name in ("seconds", "validation_seconds")}

    def kept() -> set[str]:
        return {path.name for path in (work / "cache").glob("features-*.npy")}

    assert len(kept()) == 2, "of training and validation"
    fewer = recipes.get("last-layer", [*tiny, "precision=fp32", "validation_limit=10"])
    training.train(work, fewer, tmp_path / "fewer", quiet=True)
    assert len(kept()) == 3, "those of training are the same"
    examples = Workspace(work).read_examples()
    examples.with_columns(Male=pl.col("label") == "male", Smiling=pl.lit(True)).write_parquet(Workspace(work).examples)
    beside = recipes.get("last-layer", [*tiny, "precision=fp32", "attribute_weight=0.3"])
    training.train(work, beside, tmp_path / "beside", quiet=True)
    assert len(kept()) == 3, "what is learnt beside the label is no part of the backbone"
    random = recipes.get("last-layer", [*tiny, "precision=fp32", "seed=1"])
    training.train(work, random, tmp_path / "other", quiet=True)
    assert len(kept()) == 5, "another backbone has features of its own"


def test_cached_features_are_those_of_the_pictures_that_are_there(
    tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """The same ids and labels, whose files were exchanged, or lie elsewhere."""
    recipe = recipes.get("last-layer", [*tiny, "precision=fp32", "epochs=1"])
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    shutil.copytree(tiny_work, work, ignore=shutil.ignore_patterns("cache"))
    split = work / "split.parquet"

    def files_below(folder: Path) -> None:
        names = pl.read_parquet(split)["id"].to_list()
        table = pl.read_parquet(split).with_columns(path=pl.Series([str(folder / name) for name in names]))
        table.write_parquet(split)

    def trained(name: str) -> float:
        loss: float = training.train(work, recipe, tmp_path / name, quiet=True)["train_loss"]
        return loss

    files_below(work / "pictures")
    first = trained("first")
    for path in (work / "pictures").iterdir():
        Image.new("RGB", (32, 32), "grey").save(path)
    assert trained("exchanged") != first
    shutil.copytree(tiny_work / "pictures", elsewhere)
    files_below(elsewhere)
    assert trained("elsewhere") == first


def test_training_can_start_from_another_run(run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    gentle = dataclasses.replace(recipe, epochs=0.2, learning_rate=1e-9, head_learning_rate=1e-9, ema_decay=0.0)
    training.train(tiny_work, gentle, tmp_path / "on", init=run, quiet=True)
    before, after = model_bytes(run), model_bytes(tmp_path / "on")
    key = "head.1.weight"
    torch.testing.assert_close(before[key], after[key], atol=1e-6, rtol=0)
    earlier, whole = (TrainedModel.load(one).spec for one in (run, tmp_path / "on"))
    assert lineage.seconds(earlier) == earlier.metrics["validation"]["seconds"] > 0
    assert lineage.seconds(whole) == lineage.seconds(earlier) + whole.metrics["validation"]["seconds"]
    table = Workspace(tiny_work).read_split()
    assert lineage.learnt_on(whole, table.with_columns(weight=pl.lit(2.0))) == {"here"}
    assert lineage.learnt_on(whole, table.head(9)) == {"elsewhere"}


def test_training_can_start_from_a_model_file(run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    file = export.export(run, tmp_path / "model.onnx", store="int8")
    gentle = dataclasses.replace(
        recipe, epochs=0.2, learning_rate=1e-9, head_learning_rate=1e-9, ema_decay=0.0, freeze_batch_norm=True
    )
    training.train(tiny_work, gentle, tmp_path / "on", init=file, quiet=True)
    pictures = np.load(Run(run).check_pictures, allow_pickle=False)
    on, before = TrainedModel.load(tmp_path / "on"), Classifier(file)
    size = on.spec.preprocessing
    smaller = np.stack([cv2.resize(one, (size.width, size.height)) for one in pictures])
    again = TrainedModel.load(file)
    np.testing.assert_allclose(again.probabilities(pictures), before.probabilities(pictures), atol=1e-4)
    np.testing.assert_allclose(on.probabilities(smaller), again.probabilities(smaller), atol=1e-3)
    source = on.spec.provenance["weights"]
    assert source["init_sha256"] == storage.sha256_file(file)
    assert source["weights"] == before.spec.provenance["weights"]["weights"], "where it all began is still told"


def test_batch_norms_settle_without_a_change_of_the_answers() -> None:
    network = TrainedModel.load(Path("default")).network
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        before = network(planes)
        from_onnx.settle(network, pixels)
        after = network(planes)
        torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
        norms = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
        assert len(norms) == 70
        for norm in norms:
            norm.train()
        torch.testing.assert_close(network(planes), before, atol=1e-3, rtol=0, msg="the statistics are the pictures'")


def test_a_file_of_another_shape_names_its_recipe(tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"another shape[\s\S]*inception_v3@Mixed_6e[\s\S]*--recipe small"):
        training.train(tiny_work, recipe, tmp_path / "run", init=Path("default"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_file_that_was_not_trained_here_cannot_be_trained_on(
    tiny_model: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match="does not say how it was trained"):
        training.train(tiny_work, recipe, tmp_path / "run", init=tiny_model, quiet=True)
    with pytest.raises(ModelFileError, match="no model 'gone'"):
        training.train(tiny_work, recipe, tmp_path / "run", init=Path("gone"), quiet=True)


def test_a_teacher_has_its_say_in_the_labels(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = TrainedModel.load(run).spec.preprocessing
    pupil = dataclasses.replace(recipe, epochs=1.0, sizes=((0.0, seen.height, seen.width),))
    learner = dataclasses.replace(pupil, teacher=str(run))
    training.train(tiny_work, learner, tmp_path / "taught", quiet=True)
    training.train(tiny_work, pupil, tmp_path / "alone", quiet=True)
    training.train(tiny_work, dataclasses.replace(learner, teacher_share=0.0), tmp_path / "deaf", quiet=True)
    taught, alone, deaf = (model_bytes(tmp_path / name) for name in ("taught", "alone", "deaf"))
    key = "head.1.weight"
    assert not torch.equal(taught[key], alone[key])
    torch.testing.assert_close(deaf[key], alone[key], atol=1e-3, rtol=0)
    smaller = dataclasses.replace(learner, sizes=((0.0, 24, 24),))
    training.train(tiny_work, smaller, tmp_path / "smaller", quiet=True)
    assert not torch.equal(model_bytes(tmp_path / "smaller")[key], taught[key]), "the teacher sees its own size"
    two = dataclasses.replace(learner, teacher=f"{run},{tmp_path / 'smaller'}")
    training.train(tiny_work, two, tmp_path / "two", quiet=True)
    assert not torch.equal(model_bytes(tmp_path / "two")[key], taught[key]), "both teachers are asked"
    told = TrainedModel.load(tmp_path / "two").spec.provenance
    assert told["recipe"]["teacher"] == f"{run.name},smaller", "a model file says no paths"
    assert len(set(told["weights"]["teachers_sha256"])) == 2
    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "probabilities", lambda *_: pytest.fail("the teacher was asked again"))
        training.train(tiny_work, learner, tmp_path / "taught-again", quiet=True)
        assert_equal(model_bytes(tmp_path / "taught-again"), taught)
        wider = dataclasses.replace(learner, alignment="five-point", margin=0.3)
        training.train(tiny_work, wider, tmp_path / "wider", quiet=True)
    assert TrainedModel.load(tmp_path / "wider").spec.preprocessing.margin == 0.3, "the pupil has its own framing"


def test_a_teachers_features_are_learnt_beside_the_label_and_left_out_of_the_model(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has no teacher"):
        training.train(tiny_work, dataclasses.replace(recipe, feature_weight=1.0), tmp_path / "none", quiet=True)
    pupil = dataclasses.replace(recipe, epochs=0.5, teacher=f"{run},{run}", teacher_share=0.0)
    for name, weight in (("heard", 1.0), ("unheard", 1e-12)):
        training.train(tiny_work, dataclasses.replace(pupil, feature_weight=weight), tmp_path / name, quiet=True)
    heard, unheard = (model_bytes(tmp_path / name) for name in ("heard", "unheard"))
    width = heard["head.1.weight"].shape[1]
    assert last_state(tmp_path / "heard")["network.beside.weight"].shape == (2 * width, width), "both teachers'"
    assert heard.keys() == model_bytes(run).keys()
    key = "backbone.layer4.0.conv1.weight"
    assert not torch.equal(heard[key], unheard[key])


def test_weights_of_others_are_told_of_by_whoever_learns_from_what_began_with_them(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.safetensors"
    save_file(TrainedModel.load(run).network.backbone.state_dict(), theirs)
    short = dataclasses.replace(recipe, epochs=0.2)
    training.train(tiny_work, dataclasses.replace(short, weights=str(theirs)), tmp_path / "teacher", quiet=True)
    pupil = dataclasses.replace(short, teacher=str(tmp_path / "teacher"))
    training.train(tiny_work, pupil, tmp_path / "pupil", quiet=True)
    told = {name: lineage.pretrained(TrainedModel.load(tmp_path / name).spec) for name in ("teacher", "pupil")}
    assert told == {name: {"theirs.safetensors": "not stated"} for name in ("teacher", "pupil")}
    assert lineage.pretrained(TrainedModel.load(run).spec) == {}


def test_a_teacher_of_features_is_asked_of_those_that_are_there(
    tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(tiny_work, recipes.get("last-layer", [*tiny, "precision=fp32"]), tmp_path / "run", quiet=True)
    teacher, workspace = TrainedModel.load(tmp_path / "run"), Workspace(tiny_work)
    train = workspace.read_split().filter(split="train")
    says = teacher.probabilities(np.asarray(cache.pixels(train, teacher.spec.preprocessing, workspace.cache)))
    monkeypatch.setattr(Network, "features", lambda *_: pytest.fail("features were computed again"))
    found = frozen.opinion(tmp_path / "run", teacher, train, workspace.cache, Accelerator(cpu=True), quiet=True)
    np.testing.assert_allclose(found, says, atol=1e-5)


def test_a_run_that_diverges_keeps_what_it_had(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = training._learn

    def spoil(learner: training.Learner, *rest: Any) -> torch.Tensor:
        loss = learn(learner, *rest)
        if learner.progress.step == 8:
            next(learner.network.parameters()).data[0] = float("nan")
        return loss

    monkeypatch.setattr(training, "_learn", spoil)
    with pytest.raises(DivergedError, match=r"by step 12 .* was NaN or infinite") as caught:
        training.train(tiny_work, recipe, tmp_path / "run", quiet=True)
    assert "--set learning_rate=0.0005" in str(caught.value)
    assert len(Run(tmp_path / "run").metrics.read_text().splitlines()) == 1
    monkeypatch.undo()
    training.train(tiny_work, recipe, tmp_path / "run", quiet=True)
    assert_equal(model_bytes(tmp_path / "run"), model_bytes(run))


def test_a_rate_that_is_far_too_high_is_found_out(tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="by step 6 "):
        training.train(tiny_work, dataclasses.replace(recipe, learning_rate=1e30), tmp_path / "run", quiet=True)
    assert not Run(tmp_path / "run").best.exists()


def test_weights_so_large_that_only_validation_is_no_number_are_found_out(
    tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    one_step = dataclasses.replace(recipe, epochs=0.05, learning_rate=1e30, warmup=0.0, precision="fp32")
    with pytest.raises(DivergedError, match="by step 1 "):
        training.train(tiny_work, one_step, tmp_path / "run", quiet=True)
    assert not Run(tmp_path / "run").best.exists()
    assert not Run(tmp_path / "run").metrics.exists()


def test_attributes_are_learnt_beside_the_label_and_left_out_of_the_model(
    run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path
) -> None:
    work = Workspace(tmp_path / "work")
    shutil.copytree(tiny_work, work.root)
    learner = dataclasses.replace(recipe, epochs=0.5, attribute_weight=1.0)
    with pytest.raises(DataError, match="the pictures have none"):
        training.train(work.root, learner, tmp_path / "none", quiet=True)
    examples = work.read_examples()
    smiling = pl.int_range(pl.len()) % 2 == 0
    known = examples.with_columns(Male=pl.col("label") == "male", Smiling=smiling, Young=pl.lit(None, pl.Boolean))
    known.write_parquet(work.examples)
    training.train(work.root, learner, tmp_path / "heard", init=run, quiet=True)
    unheard = dataclasses.replace(learner, attribute_weight=1e-12)
    training.train(work.root, unheard, tmp_path / "unheard", init=run, quiet=True)
    assert last_state(tmp_path / "heard")["network.beside.weight"].shape[0] == 2, "Smiling and Young"
    before, heard, quiet = (model_bytes(one) for one in (run, tmp_path / "heard", tmp_path / "unheard"))
    assert before.keys() == heard.keys()
    key = "backbone.layer4.0.conv1.weight"
    assert not torch.equal(heard[key], quiet[key])
    assert len(TrainedModel.load(tmp_path / "heard").spec.labels) == 2


def test_aligned_training_sees_the_faces_a_predictor_would_cut_out(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from perceived.data import cache
    from perceived.preprocess import Preprocessing, frame
    from perceived.types import Box, Face

    face = Face(box=Box(x0=10, y0=12, x1=40, y1=52))

    class Finder:
        def detect(self, image: np.ndarray) -> list[Face]:
            return [Face(box=Box(x0=0, y0=0, x1=5, y1=5)), face] if image[0, 0, 0] > 0 else []

    monkeypatch.setattr(cache, "YuNet", Finder)
    pictures = np.random.default_rng(3).integers(1, 255, (2, 60, 60, 3), dtype=np.uint8)
    pictures[1, 0, 0] = 0
    paths = [str(tmp_path / f"{index}.png") for index in range(2)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    framing = Preprocessing(height=32, width=32, mean=(0, 0, 0), std=(1, 1, 1), alignment="five-point")
    cached = cache.pixels(pl.DataFrame({"path": paths}), framing, tmp_path / "cache")
    np.testing.assert_array_equal(cached[0], frame(pictures[0], framing, face))
    np.testing.assert_array_equal(cached[1], frame(pictures[1], framing))


def test_a_split_of_one_label_is_refused(tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:

    table = pl.read_parquet(tiny_work / "split.parquet").filter(pl.col("label") == "male")
    table.write_parquet(tmp_path / "split.parquet")
    with pytest.raises(DataError, match=r"train side .* labels \['male'\]"):
        training.train(tmp_path, recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_workspace_without_a_split_says_how_to_make_one(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="perceived split"):
        training.train(tmp_path, recipe, tmp_path / "run", quiet=True)


def test_a_damaged_model_file_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no trained model"):
        TrainedModel.load(tmp_path)
    best = tmp_path / "best"
    best.mkdir()
    whole = (Run(run).best / "model.safetensors").read_bytes()
    (best / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="damaged"):
        TrainedModel.load(tmp_path)


def test_a_weight_that_is_no_number_is_not_kept_though_every_loss_was_one(
    tiny_work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, short = training._learn, dataclasses.replace(recipe, epochs=1.0, sizes=((0.0, 24, 24),), precision="fp32")

    def spoil(learner: training.Learner, *rest: Any) -> torch.Tensor:
        loss = learn(learner, *rest)
        if learner.progress.step == 5:  # the last before the validation
            next(learner.network.parameters()).data[0] = float("nan")
            assert learner.sums.isfinite().all()
        return loss

    monkeypatch.setattr(training, "_learn", spoil)
    with pytest.raises(DivergedError, match=r"by step 6 .* a weight was NaN"):
        training.train(tiny_work, short, tmp_path / "run", quiet=True)
    assert not any(path.exists() for path in (Run(tmp_path / "run").best, Run(tmp_path / "run").last))


def after_one_step(work: Path, recipe: Recipe, out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Return the state of a run of one step."""
    one = dataclasses.replace(recipe, epochs=0.1, sizes=((0.0, 24, 24),), precision="fp32", **changes)
    assert training.train(work, one, out, quiet=True)["step"] == 1
    return last_state(out)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norms_take_statistics_of_the_pictures_unless_they_are_frozen(
    tiny_work: Path, recipe: Recipe, tmp_path: Path, frozen: bool
) -> None:
    state = after_one_step(tiny_work, recipe, tmp_path, freeze_batch_norm=frozen)
    means = [value for key, value in state.items() if key.startswith("network.") and key.endswith("running_mean")]
    assert len(means) > 5
    assert all(bool((mean == 0).all()) == frozen for mean in means), "they begin at 0"


def test_weights_decay_as_much_as_the_recipe_says(tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    """At a rate of 0.002, a decay of 100 takes a fifth of a weight in a step."""
    key = "network.backbone.layer4.0.conv1.weight"
    whole, less = (
        after_one_step(tiny_work, recipe, tmp_path / str(decay), weight_decay=decay)[key] for decay in (0.0, 100.0)
    )
    assert less.norm() / whole.norm() == pytest.approx(0.8, abs=0.02)
