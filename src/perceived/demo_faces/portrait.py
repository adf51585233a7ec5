"""What surrounds a sampled face: skull, ears, neck, hair, clothes and background, all drawn.

FairFace's pictures end at the hairline, so nothing beyond it can be learnt from them. Everything is
drawn on CelebA's 178×218 frame, in float32 RGB on a 0-255 scale with soft edges; only the square of
the face comes from the model.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from perceived.demo_faces.model import HEIGHT, WIDTH, WINDOW, Array, enlarge, importance_map

Colour = tuple[float, float, float]
Outline = tuple[tuple[float, float], ...]
"""Points (height, half-width) in pixels, from the top down; a negative half-width is outside."""

STYLES = ("long", "bob", "tied", "short", "bald")
MIDDLE = 89.0
CROWN = 88
"""Height above which a head or its hair is a dome."""
SKULL_TOP = 38.0
JAW: Outline = (
    *((CROWN, 44.5), (104, 44.5), (124, 43), (146, 40)),
    *((158, 35), (167, 27), (174, 18), (179, 9), (182, -4), (200, -80)),
)
NECK: Outline = ((110, -60), (140, 26), (180, 28), (194, 29.5), (204, 36), (212, 54), (222, 90))
SHOULDERS: Outline = ((190, -20), (196, 22), (202, 40), (208, 62), (214, 84), (230, 110))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What a nobody keeps from one picture to the next.

    ``style`` is one of :data:`STYLES`, ``hair`` its RGB middle tone. In pixels: ``forehead`` is how far
    the hairline lies above its usual place, ``part`` how far from the middle hair parts, ``volume`` how
    far hair stands off the skull. ``wave`` is from 0 to 1; ``seed`` fixes the strands.
    """

    style: str
    hair: Colour
    forehead: float
    part: float
    volume: float
    wave: float
    bangs: bool
    glasses: bool
    seed: int


@functools.cache
def _frame() -> tuple[Array, Array]:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return x, y


def soft(distance: Array, width: float) -> Array:
    """Return 0 where ``distance`` is well below zero, 1 where well above, smoothly over ``width`` pixels."""
    t = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def lay(canvas: Array, colour: Array | Colour, alpha: Array) -> Array:
    """Return the canvas with a colour or picture laid over it."""
    return canvas + (np.asarray(colour, np.float32) - canvas) * alpha[..., None]


def inside(outline: Outline, aside: Array) -> Array:
    """Return the distance in pixels to an outline, positive inside; ``aside`` is the distance from the middle."""
    heights, widths = np.array(outline).T
    line = np.interp(np.arange(-12, HEIGHT + 12), heights, widths).astype(np.float32)[:, None]
    line = cv2.GaussianBlur(line, (1, 17), sigmaX=1, sigmaY=3, borderType=cv2.BORDER_REPLICATE)
    slope = np.gradient(line[:, 0])[12:-12, None]
    return np.asarray((line[12:-12] - aside) / np.sqrt(1 + slope**2), np.float32)


def ellipse(x: float, y: float, width: float, height: float) -> Array:
    """Return about the distance in pixels to an ellipse, positive inside."""
    column, row = _frame()
    return np.asarray((1 - np.hypot((column - x) / width, (row - y) / height)) * min(width, height), np.float32)


@functools.cache
def _opacity() -> tuple[Array, Array]:
    """Return how opaque the model's face is on the frame, and where it is surely skin, at a quarter of the size."""
    importance, (x, y, w, h) = importance_map(), WINDOW
    opacity, skin = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    blurred = cv2.GaussianBlur(np.clip((importance - 0.45) / 0.5, 0, 1), (0, 0), 2.5)
    opacity[y : y + h, x : x + w] = blurred * (importance > 0)
    skin[y : y + h, x : x + w] = (importance > 0.9) & (np.abs(np.arange(w) - 63.5) < 33)
    return opacity, np.asarray(cv2.resize(skin, (45, 55), interpolation=cv2.INTER_AREA), np.float32)


def domed(outline: Outline, top: float) -> Array:
    """Return the distance to an outline that begins at the height :data:`CROWN`, with a dome up to ``top`` over it."""
    x, y = _frame()
    width = outline[0][1]
    dome = np.hypot((x - MIDDLE) / width, (y - CROWN) / (CROWN - top))
    return np.where(y < CROWN, (1 - dome) * width, inside(outline, np.abs(x - MIDDLE))).astype(np.float32)


def extend(square: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
    """Return the face on the frame and its skin alone, continued smoothly over the whole frame."""
    (x, y, w, h), (_, skin) = WINDOW, _opacity()
    face = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    face[y : y + h, x : x + w] = square
    small = cv2.resize(face, (45, 55), interpolation=cv2.INTER_AREA) * skin[..., None]
    weight, colour = np.zeros_like(skin), np.zeros_like(small)
    for sigma, share in ((2.5, 1.0), (6.0, 0.02), (20.0, 0.001)):
        weight += share * cv2.GaussianBlur(skin, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        colour += share * cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    smooth = cv2.resize(colour / (weight + 1e-6)[..., None], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return face, smooth


def background(rng: np.random.Generator) -> Array:
    """Return a blurred nothing: a colour, a gradient, a few lights."""
    base = rng.uniform(60, 205) + rng.normal(0, 9, 3)
    coarse = base + rng.normal(0, rng.uniform(4, 26), (6, 5, 1)) + rng.normal(0, 4, (6, 5, 3))
    smooth = cv2.resize(coarse.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)


@functools.cache
def _tile() -> Array:
    """Return noise, 64 rows along a strand by 512 across, of several widths; it wraps across."""
    rng = np.random.default_rng(20)
    total = np.zeros((64, 512), np.float32)
    for across, along, share in ((1.6, 9, 0.5), (4.0, 12, 0.7), (14.0, 14, 1.0)):
        noise = np.tile(rng.standard_normal((64, 512)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along)[64:128, 512:1024]
        total += share * smooth / smooth.std()
    return np.asarray(total / total.std(), np.float32)


def strands(person: Person) -> Array:
    """Return about -2 to 2: the brightness of hair that falls from the parting."""
    x, y = _frame()
    rng = np.random.default_rng(person.seed)
    down = np.maximum(y - SKULL_TOP + np.float32(person.volume), 0)
    aside = x - MIDDLE - np.float32(person.part)
    swing = np.float32(2.2 * person.wave) * np.sin(
        down / float(rng.uniform(6, 10)) + aside / 22 + float(rng.uniform(0, 6))
    )
    across = (aside + swing * np.minimum(down / 30, 1)) / (1 + np.float32(0.22) * np.sqrt(down + 1))
    along = down / 5 + np.abs(aside) / 9
    column, row = (across * 7 + int(rng.integers(512))).astype(np.float32), (along + 4).astype(np.float32)
    return np.asarray(cv2.remap(_tile(), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def hair_outlines(person: Person) -> tuple[Outline, Outline]:
    """Return the outline of all the hair, below its dome, and of the opening the face looks through."""
    v, line = person.volume, 63 - person.forehead
    if person.style in ("long", "bob"):
        sides: Outline = ((CROWN, 48 + v), (120, 51 + v), (150, 53 + v))
        ends: Outline = (
            ((190, 57 + v), (230, 60 + v)) if person.style == "long" else ((166, 52 + v), (180, 36), (190, -40))
        )
        opening: Outline = ((line + 12, 24), (84, 36), (104, 40.5), (140, 41), (166, 37), (182, 33), (230, 34))
    else:
        sides = ((CROWN, 46 + v * 0.6), (104, 46 + v * 0.2))
        ends = ((114, 45.5), (124, 44), (130, 30), (136, -40))
        opening = ((line + 4, 25), (line + 9, 33), (86, 37.5), (96, 38.5), (108, 41), (120, 43), (132, 60))
    if person.bangs:
        line = 92
        opening = ((94, 24), (98, 34), *(p for p in opening if p[0] > 100))
    return (*sides, *ends), ((line - 16, -60), (line - 1, -4), (line + 1, 9), *opening)


def hair_colour(person: Person, noise: Array, light: float) -> Array:
    """Return hair everywhere, lit: strands, and a sheen around the crown."""
    _, y = _frame()
    sheen = np.exp(-(((y - 60 + 4 * noise) / 13) ** 2)) * np.float32(0.16)
    shade = np.clip(1 + 0.13 * noise + sheen - 0.0012 * (y - 60), 0.35, 1.9)
    tone = np.asarray(person.hair, np.float32)
    lit = tone * shade[..., None] + 7 * np.maximum(noise + sheen * 5, 0)[..., None]
    return np.asarray(lit * np.float32(light), np.float32)


def body(canvas: Array, skin: Array, cloth: Array, neckline: float) -> Array:
    """Draw neck and clothes."""
    x, y = _frame()
    aside = np.abs(x - MIDDLE)
    shade = 0.66 + 0.24 * soft(y - 190, 30) - 0.10 * (aside / 32) ** 2
    canvas = lay(canvas, skin * np.maximum(shade, 0.3)[..., None], soft(inside(NECK, aside), 2))
    covered = soft(inside(SHOULDERS, aside), 2) * soft(-ellipse(MIDDLE, 190, 25, neckline), 2)
    folds = 1 - 0.25 * soft(28 - aside, 30) + 0.06 * np.sin(aside / 7)
    return lay(canvas, cloth * folds[..., None], covered)


def head(canvas: Array, face: Array, skin: Array, *, ears: bool) -> Array:
    """Draw the skull in the face's own skin, ears if they show, and the face."""
    if ears:
        for side in (-1, 1):
            ear = ellipse(MIDDLE + side * 45.5, 117, 5.5, 12.5)
            canvas = lay(canvas, skin * (0.66 + 0.26 * soft(ear - 2, 4))[..., None], soft(ear, 1.6))
    depth = domed(JAW, SKULL_TOP)
    rounded = 0.62 + 0.38 * soft(depth - 5, 16)
    canvas = lay(canvas, skin * rounded[..., None], soft(depth, 2))
    opacity = _opacity()[0] * soft(depth - 4, 6)
    return lay(canvas, face * (0.85 + 0.15 * soft(depth - 6, 10))[..., None], opacity)


def draw_glasses(canvas: Array) -> Array:
    """Draw rims, bridge and temples."""
    lines = np.zeros((HEIGHT * 2, WIDTH * 2), np.uint8)
    for centre in (138, 218):
        cv2.ellipse(lines, (centre, 225), (29, 22), 0, 0, 360, 255, 4, cv2.LINE_AA)
    cv2.line(lines, (167, 219), (189, 219), 255, 4, cv2.LINE_AA)
    cv2.line(lines, (109, 219), (88, 213), 255, 4, cv2.LINE_AA)
    cv2.line(lines, (247, 219), (268, 213), 255, 4, cv2.LINE_AA)
    alpha = cv2.resize(lines, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return lay(canvas, (38.0, 32.0, 32.0), np.asarray(alpha * np.float32(0.85), np.float32))


def paint(square: npt.NDArray[np.uint8], person: Person, rng: np.random.Generator) -> Array:
    """Return the whole portrait, ``(218, 178, 3)``, around a face square of the model.

    ``rng`` draws what is not the person.
    """
    x, _ = _frame()
    aside = np.abs(x - MIDDLE)
    face, skin = extend(square)
    light = float(np.clip(skin[90:170, 60:118].mean() / 140, 0.45, 1.3)) ** 0.5
    noise = strands(person)
    hair = hair_colour(person, noise, light)
    outer, opening = hair_outlines(person)
    rough = np.float32(0.8) * noise
    whole = soft(domed(outer, SKULL_TOP - 1 - person.volume) + rough, 3.5)
    front = whole * (1 - soft(inside(opening, aside) + rough * (2.2 if person.bangs else 1.4), 7))
    canvas = background(rng)
    if person.style in ("long", "bob"):
        canvas = lay(canvas, hair * np.float32(0.55), whole)
    cloth = rng.uniform(25, 225) + rng.normal(0, 28, 3)
    canvas = body(canvas, skin, cloth.astype(np.float32), rng.uniform(9, 24))
    canvas = head(canvas, face, skin, ears=person.style not in ("long", "bob"))
    if person.style != "bald":
        canvas *= (1 - 0.4 * cv2.GaussianBlur(front, (0, 0), 4))[..., None]
        canvas = lay(canvas, hair, front)
    return draw_glasses(canvas) if person.glasses else canvas


def pose(canvas: Array, field: Array, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Give the portrait its face's shape and an alignment as inexact as CelebA's; return uint8."""
    x, y = _frame()
    left, top, width, height = WINDOW
    whole = cv2.copyMakeBorder(
        enlarge(field), top, HEIGHT - top - height, left, WIDTH - left - width, cv2.BORDER_REPLICATE
    )
    whole = cv2.GaussianBlur(whole, (0, 0), 2)
    turn, scale = np.float32(np.radians(rng.normal(0, 1.8))), np.float32(np.exp(rng.normal(0, 0.025)))
    dx, dy = x - MIDDLE - np.float32(rng.normal(0, 1.2)), y - 125 - np.float32(rng.normal(0, 1.2))
    across, down = (dx - turn * dy) / scale + np.float32(MIDDLE), (dy + turn * dx) / scale + 125
    shift = cv2.remap(whole, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    posed = cv2.remap(
        canvas, across + shift[..., 0], down + shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.clip(np.rint(posed), 0, 255).astype(np.uint8)
