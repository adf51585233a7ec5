"""Datasets whose names say all about them: their makers and their licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset that models are trained on.

    ``commercial`` says whether commercial use is allowed; ``None``: ask its owner.
    """

    name: str
    license: str
    commercial: bool | None
    source: str


DATASETS = {
    "celeba": Dataset(
        name="CelebA", license="non-commercial research only, no redistribution", commercial=False,
        source="Liu et al. 2015, arXiv:1411.7766",
    ),
    "fairface": Dataset(
        name="FairFace", license="CC BY 4.0", commercial=True, source="Kärkkäinen and Joo 2021, arXiv:1908.04913"
    ),
    "utkface": Dataset(
        name="UTKFace", license="non-commercial research only", commercial=False,
        source="Zhang, Song and Qi 2017, arXiv:1702.08423",
    ),
    "demo": Dataset(
        name="perceived demo faces", license="Apache-2.0", commercial=True, source="generated faces of nobody"
    ),
}  # fmt: skip
