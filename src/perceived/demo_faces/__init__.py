"""The demo set: about a thousand pictures of nobody, shaped like CelebA as Kaggle packs it.

Faces are sampled from the model of :mod:`perceived.demo_faces.model`, which also says how it is known
that they are nobody's; everything around them is drawn by :mod:`perceived.demo_faces.portrait`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from perceived.data.known import DATASETS
from perceived.demo_faces import attributes as demo_attributes, model as demo_model, portrait as demo_portrait
from perceived.errors import ConfigError
from perceived.progress import Tick
from perceived.storage import atomic_path

SHARES = (0.70, 0.15, 0.15)
"""Train, validation and test; CelebA's own are 80, 10 and 10 %, too few to test on in a small set."""
BREADTH = 0.6
"""How far samples stray from their gender's mean face, against the real spread (1.0): little enough
that a small network learns to tell most of them apart from a few hundred pictures."""
ALIKE = 0.85
"""Correlation of two pictures of one person in the model's coordinates."""
QUALITY = 92
MOST = 999_999
STYLE_ODDS = {False: (0.53, 0.25, 0.19, 0.03), True: (0.02, 0.02, 0.01, 0.95)}
"""By male or not, of the first four of :data:`portrait.STYLES`; baldness is an attribute."""
HAIR = {
    "Black_Hair": (32, 27, 27),
    "Blond_Hair": (178, 140, 92),
    "Brown_Hair": (88, 58, 40),
    "Gray_Hair": (146, 143, 139),
}
"""RGB middle tone of hair by attribute, and of hair without one."""
PLAIN_HAIR = (56, 41, 33)
ABOUT = """\
Faces of nobody
===============
{count} pictures in the shape of CelebA, made by 'perceived demo-data' from seed {seed}. No picture shows a
person: faces are random samples of a statistical model of aligned faces, fitted on FairFace (Karkkainen and
Joo, WACV 2021; CC BY 4.0), and hair, clothes and background are drawn around them.

The attributes are synthetic: drawn by lot at the rates CelebA has for each gender. Male decided which
model was sampled; hair colour, Bald, Bangs, Receding_Hairline, Wavy_Hair, Eyeglasses and Blurry were drawn
to agree with the picture; all others are lots that say nothing about it.
Each person has one or two pictures, listed in identity_CelebA.txt, all in one partition.

For trying out the software only: what a model learns here says nothing about real faces.
"""

ATTRIBUTES_TABLE, PARTITIONS_TABLE = "list_attr_celeba.csv", "list_eval_partition.csv"
PEOPLE_TABLE = "identity_CelebA.txt"
PICTURES = "img_align_celeba"
CONTENT = {ATTRIBUTES_TABLE, PARTITIONS_TABLE, PEOPLE_TABLE, PICTURES, "README.txt", "dataset.json"}
"""What a demo set is made of: a folder that holds more is somebody's."""
MAKER = "perceived demo-data"
"""What ``dataset.json`` says of a folder that may be replaced by another demo set."""
Integers = npt.NDArray[np.int64]
Attributes = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is in which picture: ``identity`` and ``partition`` per picture, ``male`` per identity."""

    identity: Integers
    partition: Integers
    male: npt.NDArray[np.bool_]


def write(out: Path, *, count: int = 1000, seed: int = 0, progress: Tick | None = None) -> Path:
    """Write the demo set to the folder ``out``; the same count and seed give the same files.

    ``progress`` is called with the number of pictures drawn and of all.

    Raises:
        ConfigError: the count or seed is out of range, or ``out`` holds something else.
        StorageError: the disk refused it; nothing is left behind.
    """
    out = Path(out)
    if not 1 <= count <= MOST or seed < 0:
        raise ConfigError(
            f"A demo set of {count} pictures with seed {seed} is impossible.",
            expected=f"1 to {MOST:,} pictures, a seed from 0",
        )
    if out.exists() and not _is_ours(out):
        raise ConfigError(
            f"{out} exists and is not a demo set.",
            expected="a new folder, or what demo-data wrote",
            mend="choose another folder, or delete it",
        )
    cast, attributes = _plan(count, seed)
    with atomic_path(out) as folder:
        folder.mkdir()
        _write_tables(folder, cast, attributes)
        (folder / "README.txt").write_text(ABOUT.format(count=count, seed=seed), encoding="utf-8")
        about = {"source": "demo", "licence": DATASETS["demo"].license, "made_by": MAKER, "count": count, "seed": seed}
        (folder / "dataset.json").write_text(json.dumps(about) + "\n")
        (folder / PICTURES).mkdir()
        for i, picture in enumerate(_draw_pictures(cast, attributes, seed)):
            (folder / PICTURES / name_of(i)).write_bytes(picture)
            if progress:
                progress(i + 1, count)
    return out


def draw(*, count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Yield who is in each picture that :func:`write` would write, and the picture as JPEG."""
    cast, attributes = _plan(count, seed)
    yield from zip(cast.identity.tolist(), _draw_pictures(cast, attributes, seed), strict=True)


def _plan(count: int, seed: int) -> tuple[Cast, Attributes]:
    cast_rng, attribute_rng = (np.random.default_rng([seed, part]) for part in (0, 1))
    cast = draw_cast(cast_rng, count)
    attributes = demo_attributes.draw(attribute_rng, cast.identity, cast.male)
    attributes["Male"] = cast.male[cast.identity]
    return cast, attributes


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {one.name for one in folder.iterdir()}
    if not names <= CONTENT:
        return False
    if not names:
        return True
    try:
        return bool(json.loads((folder / "dataset.json").read_bytes())["made_by"] == MAKER)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def draw_cast(rng: np.random.Generator, count: int) -> Cast:
    """Share the pictures out to partitions, and in each to people with one or two pictures."""
    ends = np.rint(np.cumsum(SHARES) * count).astype(int)
    identity: list[int] = []
    partition: list[int] = []
    male: list[bool] = []
    for part, size in enumerate(np.diff(ends, prepend=0)):
        people: list[int] = []
        taken = 0
        while len(people) < size:
            people += [taken] * int(min(rng.integers(1, 3), size - len(people)))
            taken += 1
        men = round(taken * demo_attributes.MALE_SHARE)
        identity += [len(male) + person for person in rng.permutation(people).astype(int)]
        partition += [part] * int(size)
        male += list(rng.permutation(np.arange(taken) < men))
    return Cast(np.array(identity), np.array(partition), np.array(male))


def name_of(picture: int) -> str:
    """Return the file name of a picture counted from 0."""
    return f"{picture + 1:06d}.jpg"


def _write_tables(folder: Path, cast: Cast, attributes: Attributes) -> None:
    names = [name_of(i) for i in range(len(cast.identity))]
    signs = np.where(np.stack([attributes[name] for name in demo_attributes.RATES], 1), 1, -1)
    _write_csv(
        folder / ATTRIBUTES_TABLE,
        ["image_id", *demo_attributes.RATES],
        [[name, *row] for name, row in zip(names, signs.tolist(), strict=True)],
    )
    _write_csv(
        folder / PARTITIONS_TABLE,
        ["image_id", "partition"],
        [[name, part] for name, part in zip(names, cast.partition.tolist(), strict=True)],
    )
    lines = [f"{name} {person + 1}\n" for name, person in zip(names, cast.identity.tolist(), strict=True)]
    (folder / PEOPLE_TABLE).write_text("".join(lines), encoding="utf-8")


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _draw_pictures(cast: Cast, attributes: Attributes, seed: int) -> Iterator[bytes]:
    """Sample and paint the pictures, a batch at a time, and yield each as JPEG."""
    model = demo_model.load()
    people: dict[int, tuple[npt.NDArray[np.float64], demo_portrait.Person]] = {}
    for start in range(0, len(cast.identity), 64):
        batch = range(start, min(start + 64, len(cast.identity)))
        rngs = [np.random.default_rng([seed, 2, i]) for i in batch]
        noise = []
        for i, rng in zip(batch, rngs, strict=True):
            who = int(cast.identity[i])
            if who not in people:
                people[who] = _draw_person(seed, who, {n: bool(v[i]) for n, v in attributes.items()}, model.size)
            own = rng.standard_normal(model.size)
            noise.append(np.sqrt(ALIKE) * people[who][0] + np.sqrt(1 - ALIKE) * own)
        male = cast.male[cast.identity[list(batch)]]
        coordinates = demo_model.sample(model, male, np.stack(noise), breadth=BREADTH)
        squares = demo_model.render_texture(model, coordinates)
        fields = demo_model.render_shape(model, coordinates)
        for i, rng, square, field in zip(batch, rngs, squares, fields, strict=True):
            person = people[int(cast.identity[i])][1]
            picture = demo_portrait.pose(demo_portrait.paint(square, person, rng), field, rng)
            yield _encode(picture, blurry=bool(attributes["Blurry"][i]))


def _draw_person(
    seed: int, who: int, attributes: dict[str, bool], size: int
) -> tuple[npt.NDArray[np.float64], demo_portrait.Person]:
    """Draw a nobody: the noise its face is made of, and its hair."""
    rng = np.random.default_rng([seed, 3, who])
    noise = rng.standard_normal(size)
    style = str(rng.choice(demo_portrait.STYLES[:4], p=STYLE_ODDS[attributes["Male"]]))
    tone = next((HAIR[name] for name in HAIR if attributes[name]), PLAIN_HAIR)
    light = np.exp(rng.normal(0, 0.18)) + rng.normal(0, 0.03, 3)
    red, green, blue = (float(v) for v in np.asarray(tone) * light)
    person = demo_portrait.Person(
        style="bald" if attributes["Bald"] else style,
        hair=(red, green, blue),
        forehead=float(rng.normal(0, 2.5)) + (8 if attributes["Receding_Hairline"] else 0),
        part=float(rng.normal(0, 9)),
        volume=float(abs(rng.normal(3 if style in ("short", "tied") else 6, 2))),
        wave=float(rng.uniform(0.6, 1) if attributes["Wavy_Hair"] else rng.uniform(0, 0.25)),
        bangs=attributes["Bangs"],
        glasses=attributes["Eyeglasses"],
        seed=int(rng.integers(2**31)),
    )
    return noise, person


def _encode(picture: npt.NDArray[np.uint8], *, blurry: bool) -> bytes:
    """Return the RGB picture as JPEG."""
    if blurry:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
