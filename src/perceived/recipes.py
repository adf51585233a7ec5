"""Recipes: functions that return everything a training run needs to know, in one frozen record."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from perceived import storage
from perceived.data.augment import STRONG, Augmentation
from perceived.data.degrade import Degradation
from perceived.errors import ConfigError, DataError
from perceived.preprocess import ALIGNMENTS, Preprocessing

Record = TypeVar("Record")

STUDY_FROZEN = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "Mixed_5b",
    "Mixed_5c.branch1x1.conv",
    "Mixed_5c.branch5x5_1",
    "Mixed_5c.branch3x3dbl_1",
    "Mixed_5c.branch3x3dbl_2",
)
"""timm's names of Keras' first 52 InceptionV3 layers; docs/design.md shows how they were matched."""

STEM = STUDY_FROZEN[:5]


CHOICES = {
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "bf16", "fp32"),
    "select_by": ("loss", "accuracy"),
    "alignment": (*ALIGNMENTS, ""),
}
"""Settings that are one of a few words."""
LISTS = {
    "sizes": "JSON such as [[0, 160, 160]], or [[0, 96, 96], [0.7, 160, 160]]: from which share of the run on pictures "
    "are how many pixels high and wide, in one shape",
    "hidden": "JSON such as [256], the widths of the layers, or []",
    "frozen": 'JSON such as ["Conv2d_1a_3x3"], names of modules, or []',
}
"""Settings that are lists, and what is expected of each."""
ALIKE = 0.02
"""By how much the shapes of pictures of growing sizes may differ, which whole pixels make them do."""
KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A complete training configuration.

    Lengths are counted in image-steps, pictures times epochs, so that runs of different batch size compare; the
    ``schedule`` follows ``warmup``, a share of the run over which the rate rises linearly. ``sizes`` are
    ``(share, height, width)``: from that share of the run on, training uses pictures of that many pixels; the
    last one is the model's own input size. Validation happens every ``validate_every`` image-steps, once an
    epoch at least (0: once) and the run stops when ``patience`` validations in a row (0: never) have not
    improved ``select_by`` (``"loss"`` or ``"accuracy"``). ``alignment`` (of
    :data:`perceived.preprocess.ALIGNMENTS`; empty: none) and ``margin`` frame the faces. ``teacher`` is the run
    of a trained model, or several with commas between them, whose (mean) opinion of each picture, as each of
    them frames it, makes up ``teacher_share`` of its label. With a ``feature_weight`` the network learns the
    features that its teachers' backbones find in each picture, too, and with an ``attribute_weight`` CelebA's
    other attributes, their mean losses counting so much against the label's 1; what answers them is not kept.
    ``mixup`` and ``cutmix`` are the alphas by which pictures are mixed with one another (0: they are not; see
    :func:`perceived.data.mix.batch`). With ``cached_features`` the backbone is frozen, and its features of each
    picture are computed once: there is one size, and nothing varies.
    ``precision`` is ``"bf16"``, ``"fp32"`` or ``"auto"``: bf16 where the device computes with it itself.
    """

    name: str
    backbone: str = "inception_v3"
    weights: str = "auto"
    sizes: tuple[tuple[float, int, int], ...] = ((0.0, 218, 178),)
    hidden: tuple[int, ...] = ()
    dropout: float = 0.2
    frozen: tuple[str, ...] = ()
    freeze_batch_norm: bool = True
    cached_features: bool = False
    epochs: float = 3.0
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 3e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    alignment: str = ""
    margin: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    degradation: Degradation = field(default_factory=Degradation)
    mixup: float = 0.0
    cutmix: float = 0.0
    teacher: str = ""
    teacher_share: float = 0.7
    feature_weight: float = 0.0
    attribute_weight: float = 0.0
    average_flip: bool = False
    precision: str = "auto"
    validate_every: int = 0
    validation_limit: int = 0
    select_by: str = "loss"
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        lists = {
            "sizes": _are_sizes(self.sizes),
            "hidden": all(type(width) is int and width > 0 for width in self.hidden),
            "frozen": all(isinstance(name, str) for name in self.frozen),
        }
        ranges = {
            "a number above -0.5": {"margin": -0.5 < self.margin < math.inf},
            "a number above 0": {
                key: 0 < getattr(self, key) < math.inf for key in ("epochs", "learning_rate", "head_learning_rate")
            },
            "1 or more": {"batch_size": self.batch_size >= 1},
            "a number from 0 to 4294967295": {"seed": 0 <= self.seed < 2**32},
            "a number from 0 to 1": {"teacher_share": 0 <= self.teacher_share <= 1},
            "a number from 0 to less than 1": {
                key: 0 <= getattr(self, key) < 1 for key in ("ema_decay", "dropout", "warmup", "label_smoothing")
            },
            "0, or a number from 0.01 to 1000": {  # beyond, float32 draws another distribution
                key: getattr(self, key) == 0 or 0.01 <= getattr(self, key) <= 1000 for key in ("mixup", "cutmix")
            },
            "a number from 0": {
                key: 0 <= getattr(self, key) < math.inf
                for key in (
                    *("weight_decay", "feature_weight", "attribute_weight"),
                    *("validate_every", "validation_limit", "patience"),
                )
            },
        }
        checks = [
            *((key, f"one of {', '.join(words)}", getattr(self, key) in words) for key, words in CHOICES.items()),
            *((key, LISTS[key], right) for key, right in lists.items()),
            *((key, expected, right) for expected, keys in ranges.items() for key, right in keys.items()),
        ]
        for key, expected, right in checks:
            if not right:
                raise ConfigError(f"The recipe's {key} cannot be {getattr(self, key)!r}.", expected=expected)
        if self.cached_features:
            self._check_cached()

    def _check_cached(self) -> None:
        """Refuse settings that would mean nothing to features computed once, of each picture as it is."""
        plain = {"augmentation": Augmentation(), "degradation": Degradation(), "average_flip": False}
        plain |= {"mixup": 0.0, "cutmix": 0.0}
        idle = [key for key, value in plain.items() if getattr(self, key) != value]
        idle += ["sizes"] if len(self.sizes) > 1 else []
        if idle:
            raise ConfigError(
                f"The recipe's {idle[0]} has no effect with cached_features: each picture is seen once, as it is.",
                expected="one size, and no augmentation, degradation, mixup, cutmix or average_flip",
                mend="start from the recipe 'last-layer', or leave cached_features=false",
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input in pixels."""
        _, height, width = self.sizes[-1]
        return height, width

    def framing(
        self,
        *,
        mean: tuple[float, float, float] = (0, 0, 0),
        std: tuple[float, float, float] = (1, 1, 1),
        interpolation: str = "bilinear",
    ) -> Preprocessing:
        """Return how faces are framed, for a network that expects pixels of such ``mean`` and ``std``."""
        return Preprocessing(
            height=self.input_size[0],
            width=self.input_size[1],
            mean=mean,
            std=std,
            interpolation=interpolation,
            alignment=self.alignment or None,
            margin=self.margin,
        )

    def validation_interval(self, pictures: int) -> int:
        """Return the image-steps between validations where an epoch has so many ``pictures``: no more than these."""
        return min(self.validate_every or pictures, pictures)

    @property
    def mixes(self) -> bool:
        """Whether training mixes pictures with one another."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def teachers(self) -> tuple[Path, ...]:
        """The runs that ``teacher`` names."""
        return tuple(Path(name.strip()) for name in self.teacher.split(",") if name.strip())

    def size_at(self, share: float) -> tuple[int, int]:
        """Return the training size after ``share`` (0 to 1) of the run."""
        return [(height, width) for start, height, width in self.sizes if start <= share][-1]

    def worth(self, validation: Mapping[str, Any]) -> float:
        """Return what a line of a run's metrics counts for; the model of the largest is kept."""
        return float(validation["val_accuracy"] if self.select_by == "accuracy" else -validation["val_loss"])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data; tuples become lists."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data


def _are_sizes(sizes: tuple[Any, ...]) -> bool:
    """Return whether these are ``(share, height, width)`` in rising order from a share of 0, all of one shape.

    A model sees pictures as its last size shapes them, whichever size was trained when it was the best.
    """
    if not all(isinstance(size, tuple) and len(size) == 3 for size in sizes):
        return False
    numbers = all(type(value) in (int, float) and value >= 0 for size in sizes for value in size)
    sides = all(type(side) is int and side > 0 for _, *pair in sizes for side in pair)
    shares = [share for share, _, _ in sizes]
    if not (numbers and sides and shares[:1] == [0] and shares == sorted(set(shares)) and shares[-1] < 1):
        return False
    shapes = [height / width for _, height, width in sizes]
    return bool(max(shapes) <= (1 + ALIKE) * min(shapes))


def study() -> Recipe:
    """The student study: strong augmentation, a deep head, Adam at Keras' default rate."""
    return Recipe(
        name="study",
        hidden=(1024, 512),
        dropout=0.5,
        frozen=STUDY_FROZEN,
        freeze_batch_norm=False,
        epochs=15,
        batch_size=16,
        optimizer="adam",
        learning_rate=1e-3,
        head_learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        augmentation=STRONG,
        select_by="loss",
        patience=5,
    )


def last_layer() -> Recipe:
    """A frozen backbone whose features are computed once: minutes, for a first look."""
    return Recipe(
        name="last-layer",
        cached_features=True,
        epochs=30,
        batch_size=256,
        learning_rate=2e-3,
        head_learning_rate=2e-3,
        select_by="loss",
        patience=5,
    )


def large() -> Recipe:
    """CLIP's image encoder, frozen, and a last layer: the most accurate, and slow to answer.

    A vision transformer that has seen 400 million pictures with their captions (Radford et al. 2021,
    arXiv:2103.00020). Its features need no fine-tuning, and 100 patches of a picture are enough.
    """
    return dataclasses.replace(
        last_layer(),
        name="large",
        backbone="vit_base_patch16_clip_quickgelu_224.openai",
        sizes=((0.0, 160, 160),),
        epochs=20,
        learning_rate=5e-4,
        head_learning_rate=5e-4,
        weight_decay=0.3,
    )


def fast() -> Recipe:
    """The default: the best accuracy per minute on two CPU cores.

    Pictures of 160×130 pixels, which cost half of the study's 218×178 and teach as much; the stem keeps
    its ImageNet values; a moving average of the weights, and of each picture with its mirror image. It
    does not stop early: its few epochs end with the best weights, when the rate has fallen to nothing.
    """
    return Recipe(
        name="fast",
        sizes=((0.0, 160, 130),),
        frozen=STEM,
        freeze_batch_norm=False,
        epochs=3.7,
        learning_rate=4e-4,
        head_learning_rate=2e-3,
        weight_decay=0.05,
        label_smoothing=0.05,
        ema_decay=0.998,
        augmentation=Augmentation(
            rotate=8, shift=0.04, zoom=0.1, stretch=0.05, shear=3, light=0.08, contrast=0.15, color=0.03
        ),
        degradation=Degradation(cover=0.1),
        average_flip=True,
        validate_every=12_000,
        select_by="accuracy",
    )


def best() -> Recipe:
    """All pictures and the best accuracy; meant to go on from a ``fast`` model with ``--init``."""
    return dataclasses.replace(
        fast(),
        name="best",
        epochs=1.5,
        learning_rate=3e-4,
        head_learning_rate=5e-4,
        validate_every=25_000,
    )


def teacher() -> Recipe:
    """Any photograph: faces cut out by their landmarks, with every fault of real pictures."""
    return dataclasses.replace(
        fast(),
        name="teacher",
        sizes=((0.0, 128, 128), (0.6, 160, 160)),
        alignment="five-point",
        margin=0.1,
        epochs=3,
        validate_every=36_000,
        augmentation=Augmentation(
            rotate=12, shift=0.05, zoom=0.12, stretch=0.08, shear=4, light=0.12, contrast=0.25, color=0.06
        ),
        degradation=Degradation(shrink=0.3, blur=0.12, noise=0.12, jpeg=0.2, grey=0.08, cover=0.15),
    )


def small() -> Recipe:
    """A small network for shipping; may learn from teachers, given with ``--set teacher=RUN``.

    InceptionV3 up to its 17×17 blocks: dense convolutions learn several times faster on a CPU in bf16
    than the depthwise ones of networks made to be small, and answer as quickly. Kept as int8 it is 9 MB.
    """
    return dataclasses.replace(
        teacher(),
        name="small",
        backbone="inception_v3@Mixed_6e",
        sizes=((0.0, 104, 104), (0.4, 128, 128)),
        epochs=6,
        average_flip=False,
    )


def demo() -> Recipe:
    """A small network on small pictures: the whole study in a few minutes on the demo set.

    All of it learns, batch norms too: drawn faces are not what ImageNet's statistics are of.
    """
    return Recipe(
        name="demo",
        backbone="mobilenetv2_100",
        sizes=((0.0, 109, 89),),
        epochs=10,
        learning_rate=5e-4,
        head_learning_rate=3e-3,
        freeze_batch_norm=False,
        label_smoothing=0.05,
        precision="fp32",
        augmentation=Augmentation(
            rotate=12, shift=0.06, zoom=0.15, stretch=0.08, shear=5, light=0.1, contrast=0.2, color=0.05
        ),
        average_flip=True,
        select_by="loss",
        patience=4,
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "study": study,
    "last-layer": last_layer,
    "large": large,
    "fast": fast,
    "best": best,
    "teacher": teacher,
    "small": small,
    "demo": demo,
}
NAMES = tuple(RECIPES)


def get(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe by name with ``key=value`` overrides; ``augmentation.rotate=5`` reaches inside.

    ``name`` may also be the path of a run's ``config.json``, whose recipe it then is.

    Raises:
        ConfigError: no such recipe or key, or a value of the wrong type.
        DataError: the file is missing, or not a run's.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif name.endswith(".json"):
        recipe = _of_run(Path(name))
    else:
        raise ConfigError(
            f"There is no recipe named {name!r}.", expected=f"one of {', '.join(NAMES)}, or the config.json of a run"
        )
    for setting in overrides:
        recipe = override(recipe, setting)
    return recipe


def _of_run(config: Path) -> Recipe:
    recorded = storage.read_json(config, mend="copy the file again")
    try:
        return from_dict(recorded["recipe"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{config} holds no recipe that this version knows: {error}.", expected="the config.json of a run"
        ) from error


def summaries() -> dict[str, str]:
    """Return what each recipe is for: the first line of what is written of it here."""
    return {name: (make.__doc__ or "").strip().partition("\n")[0].replace("``", "") for name, make in RECIPES.items()}


def override(recipe: Recipe, setting: str) -> Recipe:
    """Return a recipe with one ``key=value`` changed; raises as :func:`get`."""
    key, separator, text = setting.partition("=")
    if not separator:
        raise ConfigError(f"--set {setting} has no value.", expected="--set key=value")
    return _replace(recipe, key.strip().split("."), text.strip(), key)


def settings(recipe: Recipe, *, unlike: Recipe | None = None) -> list[str]:
    """Return a recipe as the ``key=value`` that :func:`override` reads; with ``unlike``, those that differ from it."""
    known = {} if unlike is None else dict(_flat(unlike.to_dict()))
    found = [(key, value) for key, value in _flat(recipe.to_dict()) if key not in known or known[key] != value]
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in found]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name nested values with dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def from_dict(value: Mapping[str, Any]) -> Recipe:
    """Rebuild a recipe from :meth:`Recipe.to_dict`'s answer."""
    fields: dict[str, Any] = {key: _tuples(item) for key, item in value.items()}
    fields["augmentation"] = Augmentation(**fields["augmentation"])
    fields["degradation"] = Degradation(**fields.get("degradation", {}))
    return Recipe(**fields)


def _tuples(value: Any) -> Any:
    """Return what JSON wrote as lists as the tuples it was."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _replace(record: Record, path: list[str], text: str, full_key: str) -> Record:
    key, *rest = path
    kinds = get_type_hints(type(record))
    if key not in kinds:
        raise ConfigError(f"A recipe has no setting {full_key!r}.", expected=f"one of {', '.join(kinds)}")
    current = getattr(record, key)
    value = _replace(current, rest, text, full_key) if rest else _parse(text, current, kinds[key], full_key)
    return dataclasses.replace(record, **{key: value})  # type: ignore[type-var]


def _parse(text: str, current: Any, kind: Any, key: str) -> Any:
    """Read a value of the same type as the one it replaces; a number where the setting may have a fraction."""
    if isinstance(current, str):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = {"True": True, "False": False}.get(text)
    if isinstance(current, tuple) and isinstance(value, list):
        return _tuples(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is type(current):
        return value
    if dataclasses.is_dataclass(current):
        parts = ", ".join(f"{key}.{part.name}" for part in dataclasses.fields(current))
        raise ConfigError(f"{key} is a group of settings, which are set one by one.", expected=f"one of {parts}")
    expected = LISTS[key] if isinstance(current, tuple) else KINDS[float if kind is float else type(current)]
    raise ConfigError(f"--set {key}={text} cannot be read.", expected=expected)
