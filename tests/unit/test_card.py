"""Model cards: every figure from a results file, metadata the hub reads, and no licence a dataset forbids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perceived import audit, card
from perceived.answers import Reading
from perceived.classifier import Classifier
from perceived.errors import ConfigError, DataError

RATE = {"value": 0.9512, "low": 0.94, "high": 0.96}
EVALUATION = {
    "split": "test",
    "bootstrap": {},
    "pictures": {"scored": 5000},
    "metrics": {
        "accuracy": RATE,
        "f1": {"macro": RATE},
        "recall": {"female": RATE, "male": RATE},
        "roc_auc": {"value": 0.98765, "low": 0.98, "high": 0.99},
        "calibration_error": {"value": 0.0123, "low": 0.0, "high": 0.02},
    },
}
POINT = {"accuracy": {"value": 0.75}, "abstention": {"value": 0.1}}
ROBUSTNESS = {
    "mean_error": 0.25,
    "split": "test",
    "clean": POINT,
    "pictures": {"scored": 321},
    "notes": [],
    "mean_corruption_error": 0.87,
    "reference": "other",
    "corruptions": {"blur": [POINT] * 5},
    "groups": {
        "race": {
            "Latino_Hispanic": {
                "n": 1234,
                "clean": POINT,
                "mean_error": 0.31,
                "mean_accuracy_by_severity": [0.74, 0.72, 0.7, 0.66, 0.63],
            }
        }
    },
}


DOUBT = {
    "split": "val",
    "pictures": 4321,
    "target_error": 0.03,
    "threshold": {"coverage": 0.876, "error": 0.0299},
    "risk_coverage": [{"threshold": 0.91, "coverage": 0.5, "error": 0.0123}],
    "groups": {
        "age": {
            "0-2": {"pictures": 85, "abstention": 0.682, "error": None},
            "3-9": {"pictures": 9, "abstention": 0.0, "error": 0.0},
        }
    },
}


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    rows = pl.DataFrame(
        {
            "label": ["male", "female"] * 50,
            "answer": ["male", "female", "male", "male"] * 25,
            "probability_male": [0.9, 0.2, 0.8, 0.6] * 25,
            "race": ["A|B"] * 40 + ["C"] * 60,
        }
    )
    audited = {"title": "Audit of answers.csv", **audit.audit(rows, ["race"], permutations=9)}
    found = {"report": EVALUATION, "robustness": ROBUSTNESS, "audit": audited}
    paths = []
    for name, value in found.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(value))
    return paths


@pytest.fixture
def model(make_model: Callable[..., Path], tmp_path: Path) -> Path:
    provenance: dict[str, Any] = {
        "recipe": {"name": "fast", "epochs": 3.5, "seed": 0},
        "weights": {"file": "net.pth", "license": "Apache-2.0"},
        "data": {"train": 20_000, "val": 5_000},
        "environment": {"device": "cpu", "threads": 2, "platform": "Linux"},
        "calibration": DOUBT,
    }
    provenance["courses"] = {"a": {"seconds": 1800.0}}
    return make_model(tmp_path / "m.onnx", name="default", threshold=0.75, provenance=provenance)


def test_the_time_to_train_counts_the_models_learnt_from(make_model: Callable[..., Path], tmp_path: Path) -> None:
    alone = make_model(tmp_path / "alone.onnx", provenance={"courses": {"a": {"seconds": 1800.0}}})
    text = card.write(alone, tmp_path / "alone.md", datasets=["fairface"])
    assert "| time to train | 30.0 minutes to the best validation |" in text
    courses = {"a": {"seconds": 3600.0, "sources": ["fairface"]}, "b": {"seconds": 1800.0, "sources": ["fairface"]}}
    taught = make_model(tmp_path / "taught.onnx", provenance={"courses": courses})
    text = card.write(taught, tmp_path / "taught.md", datasets=["fairface"])
    assert "| time to train | 90.0 minutes to the best validation, including the models it was made from |" in text


def test_weights_that_others_trained_are_told_of_where_a_teacher_began_with_them(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    weights = {"file": "net.pth", "license": "Apache-2.0"}
    own, theirs = {"pretrained": {"net.pth": "Apache-2.0"}}, {"pretrained": {"large-net.onnx": "MIT"}}
    texts = []
    for courses in ({"a": own}, {"a": own, "b": theirs}):
        model = make_model(tmp_path / "m.onnx", provenance={"weights": weights, "courses": courses})
        texts.append(card.write(model, tmp_path / "card.md", datasets=["fairface"]))
    assert "other pretrained weights" not in texts[0]
    assert "| other pretrained weights behind it | large-net.onnx (MIT) |" in texts[1]


def test_a_card_does_not_pass_over_what_the_model_has_seen(make_model: Callable[..., Path], tmp_path: Path) -> None:
    courses = {"a": {"seconds": 60.0, "sources": ["fairface"]}, "b": {"seconds": 60.0, "sources": ["celeba", "mine"]}}
    model = make_model(tmp_path / "m.onnx", provenance={"courses": courses})
    with pytest.raises(ConfigError, match="has learnt from celeba, mine too") as caught:
        card.write(model, tmp_path / "card.md", datasets=["fairface"])
    assert caught.value.mend == "--datasets fairface,celeba,mine"
    text = card.write(model, tmp_path / "card.md", datasets=["fairface", "celeba", "mine"])
    assert 'license: "other"' in text
    assert 'license_name: "non-commercial-research"' in text
    assert "licensed under `other`: non-commercial research only" in text


def test_a_dataset_of_ones_own_is_told_with_its_licence(make_model: Callable[..., Path], tmp_path: Path) -> None:
    course = {"seconds": 60.0, "sources": ["fairface", "street", "old"], "licences": {"street": "CC0"}}
    model = make_model(tmp_path / "m.onnx", provenance={"courses": {"a": course}})
    datasets = ["fairface", "street", "old"]
    text = card.write(model, tmp_path / "card.md", datasets=datasets)
    assert 'license: "other"' in text, "whether commerce may use them is not known"
    assert 'license_name: "as-the-datasets-allow"' in text
    assert "licensed under `other`: what the owners of its training data allow" in text
    assert "| street | CC0 | ask its owner |" in text
    assert "| old | not stated | ask its owner |" in text
    assert 'license: "mit"' in card.write(model, tmp_path / "card.md", datasets=datasets, license_id="mit")
    with pytest.raises(ConfigError, match="UTKFace cannot be offered under mit"):
        card.write(model, tmp_path / "card.md", datasets=[*datasets, "utkface"], license_id="mit")


def test_the_card_says_what_int8_has_changed(make_model: Callable[..., Path], tmp_path: Path) -> None:
    found = {"compared_on": {"pictures": 4000, "split": "val"}, "changed_answers": 44}
    found |= {"accuracy": {"before": 0.9205, "after": 0.9199}}
    model = make_model(tmp_path / "m.onnx", provenance={"int8": found})
    text = card.write(model, tmp_path / "CARD.md", datasets=["fairface"])
    assert "int8: on 4,000 val pictures 44 answers differ from those in float32" in text
    assert "91.99% (before: 92.05%)" in text


def test_the_card_tells_of_a_mean_and_of_a_second_look(make_model: Callable[..., Path], tmp_path: Path) -> None:
    weights = {"file": "net.pth", "mean_of_sha256": ["a", "b", "b"]}
    provenance = {"weights": weights, "calibration": DOUBT | {"certainty": 0.95}}
    mean = make_model(tmp_path / "m.onnx", provenance=provenance, mirror_below=1.5)
    text = card.write(mean, tmp_path / "mean.md", datasets=["fairface"])
    assert "| weights | the mean of those of 3 models; this table tells of the first |\n" in text
    assert "| second look | at the mirror image too where the logits lie within 1.5 of each other |\n| cal" in text
    assert "with a certainty of 95.0% on other pictures drawn as they were, all groups together. There" in text
    plain = make_model(tmp_path / "plain.onnx", provenance={"calibration": DOUBT})
    text = card.write(plain, tmp_path / "plain.md", datasets=["fairface"])
    assert "the mean of" not in text.partition("## Training")[2].partition("## Quality")[0]
    assert "second look" not in text
    assert "with a certainty" not in text


def test_the_card_says_when_the_model_would_rather_not_say(model: Path, tmp_path: Path) -> None:
    text = card.write(model, tmp_path / "MODEL_CARD.md", datasets=["fairface"])
    assert "Below a confidence of 75.0% the answer is `uncertain`: chosen on 4,321 val pictures" in text
    assert "it answers 87.6% of the faces, 3.0% of them wrongly" in text
    assert "| 50.0% | 1.2% | 91.0% |" in text
    assert "| 0-2 | 85 | 68.2% | – |" in text


def test_the_card_holds_every_result(model: Path, results: list[Path], tmp_path: Path) -> None:
    energy = card.Energy(watts=60, grams_per_kwh=400)
    text = card.write(model, tmp_path / "MODEL_CARD.md", datasets=["fairface"], results=results, energy=energy)
    assert (tmp_path / "MODEL_CARD.md").read_text() == text
    assert f'perceived.Predictor("{model.name}")' in text
    for part in (
        "95.12% (94.00–96.00)",
        "### By race",
        "A\\|B",
        "| FairFace, test | 5,000 |",
        "| blur |",
        "### Robustness by race",
        "| Latino\\_Hispanic | 1,234 | 75.0% | 74.0% | 72.0% | 70.0% | 66.0% | 63.0% | 69.0% |",
        "87",
        "20,000",
        "30.0 minutes",
        "CC BY 4.0",
    ):
        assert part in text, part
    assert "about 12.0 g" in text, "60 W for half an hour at 400 g per kWh"
    assert "Article 50 (3)" in text
    assert "`uncertain` below a confidence of 75.0%" in text
    assert not [line for line in text.splitlines() if line.startswith("|") and not line.endswith("|")]


def test_the_card_leaves_out_nothing_that_an_audit_or_a_trial_says(
    model: Path, results: list[Path], tmp_path: Path
) -> None:
    rows = pl.DataFrame(
        {
            "label": ["male", "female"] * 50,
            "answer": ["male", "missed"] * 20 + ["male", "female"] * 30,
            "probability_male": [0.9, None] * 20 + [0.9, 0.1] * 30,
            "race": ["A"] * 10 + ["B"] * 90,
        }
    )
    audited = audit.audit(rows, ["race"], permutations=9, reading=Reading({"labels without a prediction": 2700}))
    results[2].write_text(json.dumps({"title": "Audit of answers.csv", **audited}))
    group = {**ROBUSTNESS["groups"]["race"]["Latino_Hispanic"], "n": 5}
    notes = ["It may have seen them.", "7 pictures cannot be read. No rate includes them."]
    results[1].write_text(json.dumps({**ROBUSTNESS, "notes": notes, "groups": {"race": {"few": group}}}))
    text = card.write(model, tmp_path / "MODEL_CARD.md", datasets=["fairface"], results=results)
    for part in (
        "In 20 of 100 rows no face was found; with these as errors 80.0% are right.",
        "> Left out: labels without a prediction, 2,700.",
        "> Audit of answers.csv: the answers do not say which model gave them",
        "> It may have seen them.",
        "> 7 pictures cannot be read.",
        "| few (few) | 5 |",
        "Groups of fewer than 30 pictures are marked (few).",
    ):
        assert part in text, part


def test_the_hub_reads_its_metadata(model: Path, results: list[Path], tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    text = card.write(model, tmp_path / "README.md", datasets=["fairface"], results=results)
    data = hub.ModelCard(text).data
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "image-classification"
    assert {result.metric_type: result.metric_value for result in data.eval_results}["accuracy"] == 0.9512
    assert data.model_name == "default"


def test_a_figure_of_nothing_stands_in_the_metadata(model: Path, results: list[Path], tmp_path: Path) -> None:
    found = json.loads(results[0].read_text())
    found["metrics"]["accuracy"]["value"] = 0.0
    results[0].write_text(json.dumps(found))
    text = card.write(model, tmp_path / "README.md", datasets=["fairface"], results=results)
    assert '"type": "accuracy", "name": "Accuracy", "value": 0.0' in text


def test_the_results_of_another_model_are_refused(model: Path, results: list[Path], tmp_path: Path) -> None:
    spec = Classifier(model).spec.to_dict()
    report = json.loads(results[0].read_text())
    run = tmp_path / "of-the-run.json"
    run.write_text("id,label")
    with pytest.raises(DataError, match="is not JSON") as caught:
        card.write(model, tmp_path / "own.md", datasets=["fairface"], results=[run])
    assert "delete" not in caught.value.mend
    run.write_text(json.dumps({**report, "model": {"sha256": "f" * 64, **spec}, "sources": ["celeba", "street"]}))
    text = card.write(model, tmp_path / "own.md", datasets=["fairface"], results=[run])
    assert '"name": "CelebA, street"' in text, "what was scored, not what was learnt from"
    others = []
    for key, value in {"metrics": {"validation": {"seconds": 7.0}}, "temperature": 2.0, "mirror_below": 1.0}.items():
        others.append(tmp_path / f"other-{key}.json")
        others[-1].write_text(json.dumps({**report, "model": {"sha256": "f" * 64, **spec, key: value}}))
    audited = tmp_path / "audit.json"
    audited.write_text(json.dumps({"groupings": [], "audit_version": 2, "model": {"name": "peer", "sha256": "f" * 64}}))
    for results_of_others in (*others, audited):
        with pytest.raises(DataError, match=r"is of the model '(default|peer)'"):
            card.write(model, tmp_path / "other.md", datasets=["fairface"], results=[results_of_others])
    assert not (tmp_path / "other.md").exists()


def test_an_audit_of_the_run_that_a_model_was_exported_from_is_its_own(
    model: Path, results: list[Path], tmp_path: Path
) -> None:
    (audited,) = (path for path in results if path.name == "audit.json")
    of_the_run = {"sha256": "f" * 64, **Classifier(model).spec.to_dict(), "always_answer": True}
    audited.write_text(json.dumps(json.loads(audited.read_text()) | {"model": of_the_run}))
    assert "### By race" in card.write(model, tmp_path / "c.md", datasets=["fairface"], results=[audited])


def test_an_audit_of_another_version_is_refused(model: Path, results: list[Path], tmp_path: Path) -> None:
    (audited,) = (path for path in results if path.name == "audit.json")
    audited.write_text(json.dumps(json.loads(audited.read_text()) | {"audit_version": 1}))
    with pytest.raises(DataError, match="another version of perceived"):
        card.write(model, tmp_path / "c.md", datasets=["fairface"], results=results)


def test_a_card_needs_no_results(tiny_model: Path, tmp_path: Path) -> None:
    text = card.write(tiny_model, tmp_path / "c.md", datasets=["demo"])
    assert "## Quality" not in text
    assert "model-index" not in text
    assert "## Out of scope" in text


def test_what_celeba_touched_is_not_licensed_for_commerce(tiny_model: Path, tmp_path: Path) -> None:
    text = card.write(tiny_model, tmp_path / "c.md", datasets=["celeba", "fairface"])
    assert 'license: "other"' in text
    assert "non-commercial research only" in text
    with pytest.raises(ConfigError, match=r"CelebA cannot be offered under apache-2\.0"):
        card.write(tiny_model, tmp_path / "d.md", datasets=["celeba"], license_id="apache-2.0")
    assert not (tmp_path / "d.md").exists()


def test_what_is_unknown_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'imagenet' is unknown"):
        card.write(tiny_model, tmp_path / "c.md", datasets=["imagenet"])
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(DataError, match="no results"):
        card.write(tiny_model, tmp_path / "c.md", datasets=["demo"], results=[tmp_path / "x.json"])


@pytest.mark.parametrize("folder", [".", "packages/research-weights"])
def test_the_cards_of_models_that_ship_hold_every_section(root: Path, folder: str) -> None:
    text = (root / folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for section in (
        "## Intended use", "## Out of scope", "## Law", "## Data and licence", "## Training", "## Quality",
        "## When it would rather not say", "## For whom it fails", "### By race", "### By age", "## Robustness",
        "### Robustness by race", "## Limits",
    ):  # fmt: skip
        assert f"\n{section}\n" in text
    for tested in ("| FairFace, test |", "| CelebA, test |"):
        assert tested in text


@pytest.mark.parametrize(("folder", "name"), [(".", "default"), ("packages/research-weights", "research")])
def test_the_cards_of_models_that_are_installed_call_them_by_name(root: Path, folder: str, name: str) -> None:
    assert f'perceived.Predictor("{name}")' in (root / folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, facts = card.read_model(Path("default"))
    assert (facts["file"], facts["called"]) == ("default.onnx", "default")


@pytest.mark.parametrize("name", ["tiny.onnx", "report.json"])
def test_a_card_takes_no_other_files_place(tiny_model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(tiny_model.read_bytes())
    with pytest.raises(ConfigError, match="no name for that"):
        card.write(tiny_model, tmp_path / name, datasets=["demo"])
    (tmp_path / "model.md").symlink_to(tiny_model)
    with pytest.raises(ConfigError, match="is what is read"):
        card.write(tiny_model, tmp_path / "model.md", datasets=["demo"])
    assert (tmp_path / name).read_bytes() == tiny_model.read_bytes()
