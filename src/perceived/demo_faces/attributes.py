"""CelebA's 40 attributes for people who do not exist: drawn by lot at CelebA's own rates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

RATES: dict[str, tuple[float, float]] = {
    "5_o_Clock_Shadow": (0.0, 26.6),
    "Arched_Eyebrows": (42.0, 5.3),
    "Attractive": (67.9, 27.9),
    "Bags_Under_Eyes": (10.2, 34.8),
    "Bald": (0.0, 5.4),
    "Bangs": (20.1, 8.2),
    "Big_Lips": (30.1, 15.6),
    "Big_Nose": (10.2, 42.0),
    "Black_Hair": (19.7, 29.8),
    "Blond_Hair": (23.9, 2.1),
    "Blurry": (4.6, 5.7),
    "Brown_Hair": (24.4, 15.1),
    "Bushy_Eyebrows": (6.9, 24.4),
    "Chubby": (1.2, 12.1),
    "Double_Chin": (1.0, 9.8),
    "Eyeglasses": (2.3, 12.4),
    "Goatee": (0.0, 15.0),
    "Gray_Hair": (1.1, 8.6),
    "Heavy_Makeup": (66.1, 0.3),
    "High_Cheekbones": (56.0, 30.8),
    "Male": (0.0, 100.0),
    "Mouth_Slightly_Open": (52.6, 42.5),
    "Mustache": (0.0, 10.0),
    "Narrow_Eyes": (11.1, 12.0),
    "No_Beard": (99.9, 60.6),
    "Oval_Face": (33.0, 22.0),
    "Pale_Skin": (5.6, 2.4),
    "Pointy_Nose": (36.0, 16.2),
    "Receding_Hairline": (5.3, 11.7),
    "Rosy_Cheeks": (11.1, 0.3),
    "Sideburns": (0.0, 13.5),
    "Smiling": (54.1, 40.0),
    "Straight_Hair": (18.4, 24.2),
    "Wavy_Hair": (44.7, 14.1),
    "Wearing_Earrings": (31.3, 1.6),
    "Wearing_Hat": (2.5, 8.1),
    "Wearing_Lipstick": (80.6, 0.6),
    "Wearing_Necklace": (19.8, 1.8),
    "Wearing_Necktie": (0.0, 17.4),
    "Young": (87.4, 63.3),
}
"""Percent of female and of male pictures with each attribute, counted on all 202,599 rows of CelebA
(Liu et al. 2015), in CelebA's order."""
MALE_SHARE = 84_434 / 202_599
EXCLUSIVE = (
    ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"),
    ("Bald", "Straight_Hair", "Wavy_Hair"),
    ("Bald", "Bangs", "Receding_Hairline"),
    ("No_Beard", "Goatee"),
    ("No_Beard", "Mustache"),
    ("No_Beard", "Sideburns"),
)
"""At most one of each is true of a person. A later group keeps what an earlier one decided."""
PASSING = ("Blurry", "High_Cheekbones", "Mouth_Slightly_Open", "Narrow_Eyes", "Smiling", "Wearing_Hat")
"""Drawn for each picture anew; everything else belongs to the person."""


def draw(rng: np.random.Generator, identity: npt.NDArray[np.int64], male: Bools) -> dict[str, Bools]:
    """Draw every attribute of pictures whose person is ``identity``, from 0, and who are ``male[identity]``.

    Each attribute has its gender's rate; those of :data:`EXCLUSIVE` never meet; nothing else is
    correlated, unlike in CelebA.
    """
    people = {name: rng.random(len(male)) < _rate(name, male) for name in RATES}
    for group in EXCLUSIVE:
        first, *rest = group
        taken = people[first].copy()
        for name in rest:
            left = 1 - sum((_rate(other, male) for other in group[: group.index(name)]), np.zeros(len(male)))
            chance = np.divide(_rate(name, male), left, out=np.zeros(len(male)), where=left > 0)
            people[name] = ~taken & (rng.random(len(male)) < chance)
            taken |= people[name]
    pictures = {name: value[identity] for name, value in people.items()}
    for name in PASSING:
        pictures[name] = rng.random(len(identity)) < _rate(name, male[identity])
    return pictures


def _rate(name: str, male: Bools) -> npt.NDArray[np.float64]:
    female_rate, male_rate = RATES[name]
    return np.where(male, male_rate, female_rate) / 100
