"""A model's card: what it is for and not for, from what it was made, and how well it reads whom.

Every figure comes from a results file (``report.json`` of ``perceived evaluate``, ``audit.json``,
``robustness.json``) or from the model file itself; nothing is typed in. The front matter is that of the
Hugging Face hub, so the card is valid there as ``README.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceived import audit, gaps, lineage, models, results_file, storage
from perceived.data.known import DATASETS, Dataset
from perceived.errors import ConfigError
from perceived.pages import audit as audit_page, report
from perceived.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """What a model is licensed under: an SPDX id, or ``other`` with a ``name`` and ``words`` that say what it is."""

    id: str
    name: str = ""
    words: str = ""


RESEARCH = License(
    id="other", name="non-commercial-research", words="non-commercial research only, as its training data asks"
)
AS_ALLOWED = License(
    id="other", name="as-the-datasets-allow", words="what the owners of its training data allow; ask them"
)
GRAMS_PER_KWH = 475.0
"""Carbon dioxide of an average kilowatt-hour of the world's grid, 2019 (International Energy Agency)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What the training machine drew, in watts, and the carbon dioxide of its electricity."""

    watts: float
    grams_per_kwh: float = GRAMS_PER_KWH

    def grams(self, seconds: float) -> float:
        return self.watts * seconds / 3.6e6 * self.grams_per_kwh


def write(
    model: Path,
    out: Path,
    *,
    datasets: Sequence[str],
    results: Sequence[Path] = (),
    license_id: str | None = None,
    energy: Energy | None = None,
) -> str:
    """Write the card of an ONNX file or RUN, and return its text.

    Args:
        model: the model the card is of.
        datasets: what it was trained on, by the keys of :data:`DATASETS`, or as the model itself calls them.
        results: ``report.json``, ``audit.json`` and ``robustness.json`` files, in any order.
        license_id: an SPDX id in lower case; ``apache-2.0`` unless a dataset does not allow commerce, then ``other``.
        energy: what the machine drew, for an estimate of carbon dioxide.

    Raises:
        ConfigError: ``out`` is no name for it, a dataset is unknown, the model says that it has learnt from another
            one too, or the licence promises what a dataset forbids.
        DataError: a results file is none of these, or is of another model.
    """
    storage.require_other(out, (model, *results), suffixes=(".md",))
    spec, facts = read_model(model)
    trained_on = [_dataset(name, spec) for name in datasets]
    if missing := sorted(lineage.licences(spec).keys() - set(datasets)):
        raise ConfigError(
            f"{model} has learnt from {', '.join(missing)} too, as it says itself.",
            expected="all datasets that the model has learnt from",
            mend=f"--datasets {','.join([*datasets, *missing])}",
        )
    chosen = choose_license(trained_on, license_id)
    found = []
    for path in results:
        kind, result = results_file.read(path)
        results_file.require_of_model(path, result, spec, facts["sha256"])
        found.append((kind, result))
    text = render(spec, facts, trained_on, found, terms=chosen, energy=energy)
    storage.write_text(out, text)
    return text


def read_model(model: Path) -> tuple[ModelSpec, dict[str, Any]]:
    """Return what a model file says about itself, with its hash, its size and what a predictor calls it."""
    from perceived.scoring import load_model, weights_file

    spec, file = load_model(model).spec, weights_file(model)
    sha256 = storage.sha256_file(file)
    is_packed, is_run = models.sums(file.parent).get(file.name) == sha256, model.is_dir()
    called = f"{spec.name}.onnx" if is_run else file.stem if is_packed else file.name
    facts = {"file": file.name, "called": called, "sha256": sha256, "bytes": file.stat().st_size}
    return spec, {**facts, "export": f"perceived export {model.name} {called}" if is_run else ""}


def choose_license(datasets: Sequence[Dataset], asked: str | None) -> License:
    """Return the licence of a model trained on these datasets.

    Raises:
        ConfigError: ``asked`` would allow what a dataset forbids.
    """
    closed = [dataset.name for dataset in datasets if dataset.commercial is False]
    if closed and asked not in (None, "other"):
        raise ConfigError(
            f"A model trained on {', '.join(closed)} cannot be offered under {asked}.",
            expected="the licence 'other': non-commercial research, as the dataset asks",
            mend="leave --license out, or train without that dataset",
        )
    if closed:
        return RESEARCH
    if asked == "other" or not (asked or all(dataset.commercial for dataset in datasets)):
        return AS_ALLOWED
    return License(id=asked or "apache-2.0")


def render(
    spec: ModelSpec,
    facts: Mapping[str, Any],
    datasets: Sequence[Dataset],
    results: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    terms: License,
    energy: Energy | None = None,
) -> str:
    """Return the card as Markdown with the hub's front matter."""
    by_kind = {kind: [found for k, found in results if k == kind] for kind in ("evaluation", "audit", "robustness")}
    seconds = lineage.seconds(spec)
    emissions = energy.grams(seconds) if energy and seconds else None
    context = {
        "front": front_matter(spec, datasets, by_kind, terms=terms, emissions=emissions),
        "spec": spec,
        "facts": facts,
        "datasets": datasets,
        "license": terms,
        "results": by_kind,
        "behind": _behind(spec),
        "seconds": seconds,
        "energy": energy,
        "emissions": emissions,
        "by_group": lambda found, grouping: "\n".join(audit_page.by_group(found, grouping, level="###")),
        "missed": audit_page.missed,
        "small": audit.SMALL,
        "told": gaps.told,
        "tested_on": lambda found: _tested_on(found, datasets),
        "mean": report.mean,
    }
    return report.render("card.md", context).rstrip() + "\n"


def _behind(spec: ModelSpec) -> dict[str, str]:
    """Return the pretrained weights that a model goes back to beside those that its own network began from."""
    own = spec.provenance.get("weights", {}).get("file")
    return {name: terms for name, terms in lineage.pretrained(spec).items() if name != own}


def front_matter(
    spec: ModelSpec,
    datasets: Sequence[Dataset],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    terms: License,
    emissions: float | None,
) -> str:
    """Return the hub's metadata as YAML; its values are JSON, which YAML takes."""
    data: dict[str, Any] = {
        "license": terms.id,
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["perceived-gender", "face", "fairness", "onnx", spec.backbone],
        "metrics": ["accuracy", "f1"],
    }
    if terms.name:
        data |= {"license_name": terms.name, "license_link": "LICENSE"}
    if emissions is not None:
        data["co2_eq_emissions"] = {
            "emissions": round(emissions, 2), "source": "watts times hours of training", "training_type": "fine-tuning",
        }  # fmt: skip
    scores = [_index_entry(found, _tested_on(found, datasets)) for found in results["evaluation"]]
    if scores:
        data["model-index"] = [{"name": spec.name, "results": scores}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items())


def _tested_on(found: Mapping[str, Any], datasets: Sequence[Dataset]) -> str:
    """Name the datasets whose pictures were scored; a report that does not tell is of the training's own."""
    sources = found.get("sources", [])
    return ", ".join(DATASETS[name].name if name in DATASETS else name for name in sources) or ", ".join(
        dataset.name for dataset in datasets
    )


def _index_entry(found: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    metrics = found["metrics"]
    values = {
        "accuracy": ("Accuracy", metrics["accuracy"]["value"]),
        "f1": ("F1, macro", metrics["f1"]["macro"]["value"]),
        "roc_auc": ("ROC AUC", metrics["roc_auc"]["value"]),
    }
    return {
        "task": {"type": "image-classification", "name": "Perceived gender"},
        "dataset": {"type": dataset.lower().replace(" ", "-"), "name": dataset, "split": found["split"]},
        "metrics": [
            {"type": kind, "name": name, "value": round(value, 5)}
            for kind, (name, value) in values.items()
            if value is not None
        ],
    }


def _dataset(name: str, spec: ModelSpec) -> Dataset:
    """Return a known dataset, or one of somebody's own that the model tells of."""
    own = lineage.licences(spec)
    if name in DATASETS:
        return DATASETS[name]
    if name not in own:
        raise ConfigError(
            f"The dataset {name!r} is unknown.",
            expected=f"some of {', '.join(DATASETS)}, or what the model says that it has learnt from",
        )
    return Dataset(name=name, license=own[name], commercial=None, source="of the model's makers")
