"""Faces are found at every size, place and turn, in pixels of the picture; nothing else is."""

from __future__ import annotations

import pickle
import runpy
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from perceived import detector, images, yunet
from perceived.detector import YuNet, largest_face
from perceived.errors import ConfigError, WeightsError
from perceived.types import Box, Face

FINDER = YuNet()


@pytest.fixture(scope="module")
def bench(root: Path) -> dict[str, Any]:
    """The names of ``benchmarks/detection.py``: what a scene is and when a face counts as found."""
    return runpy.run_path(str(root / "benchmarks" / "detection.py"))


@pytest.fixture(scope="module")
def portraits(bench: dict[str, Any]) -> list[images.Pixels]:
    return bench["portraits"](12)


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> Path:
    return shared_data.parent / "photos"


def resized(pixels: images.Pixels, width: int, height: int) -> images.Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def on_grey(portrait: images.Pixels, x: int, y: int, width: int = 300, height: int = 260) -> images.Pixels:
    canvas = np.full((height, width, 3), 128, np.uint8)
    canvas[y : y + portrait.shape[0], x : x + portrait.shape[1]] = portrait
    return canvas


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    shared = max(wide, 0) * max(high, 0)
    return shared / (one.width * one.height + other.width * other.height - shared)


def rows_of(*boxes: tuple[float, ...]) -> yunet.Floats:
    """Return what the network would say of boxes ``x0, y0, x1, y1, score``: their landmarks are their middles."""
    middles = [[(x0 + x1) / 2, (y0 + y1) / 2] * 5 for x0, y0, x1, y1, _ in boxes]
    return np.array([[*box[:4], *middle, box[4]] for box, middle in zip(boxes, middles, strict=True)], np.float32)


def seeing(monkeypatch: pytest.MonkeyPatch, finder: YuNet, *answers: yunet.Floats) -> YuNet:
    """Let the network of ``finder`` see these faces in one picture after the other, as far as they reach a score."""
    waiting = iter(answers)

    def find(tile: images.Pixels, threshold: float) -> yunet.Floats:
        rows = next(waiting)
        return rows[rows[:, 14] >= threshold]

    monkeypatch.setattr(finder, "_network", SimpleNamespace(find=find))
    return finder


def black(width: int, height: int) -> images.Pixels:
    return np.zeros((height, width, 3), np.uint8)


def test_a_face_where_it_is(portraits: list[images.Pixels]) -> None:
    (face,) = FINDER.detect(on_grey(portraits[0], 100, 30))
    assert face.detection_score is not None
    assert face.detection_score > 0.8
    assert 100 < face.box.x0 < face.box.x1 < 278
    assert 30 < face.box.y0 < face.box.y1 < 248
    assert face.landmarks is not None
    (right_eye, left_eye, nose, right_mouth, left_mouth) = face.landmarks
    assert face.box.x0 < right_eye[0] < nose[0] < left_eye[0] < face.box.x1
    assert face.box.y0 < right_eye[1] < nose[1] < right_mouth[1] < face.box.y1
    assert right_mouth[0] < left_mouth[0]


def test_the_network_is_read_as_opencv_reads_it(portraits: list[images.Pixels]) -> None:
    picture = on_grey(portraits[1], 20, 20, 320, 320)
    reader = cv2.FaceDetectorYN.create(str(yunet.WEIGHTS), "", (320, 320), 0.6, 0.3, 5000)
    expected = reader.detect(picture[..., ::-1].copy())[1][0]
    rows = yunet.Network().find(picture, 0.6)
    found = rows[rows[:, 14].argmax()]
    found[2:4] -= found[:2]
    assert np.abs(found[:14] - expected[:14]).max() < 0.1
    assert found[14] == pytest.approx(expected[14], abs=1e-3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_gives_the_same_face_turned(portraits: list[images.Pixels], quarters: int) -> None:
    upright = on_grey(portraits[2], 60, 20)
    (expected,) = FINDER.detect(upright)
    turned = np.ascontiguousarray(np.rot90(upright, quarters))
    (face,) = FINDER.detect(turned)
    assert expected.landmarks is not None
    assert face.landmarks is not None
    back = [{1: (300 - y, x), 2: (300 - x, 260 - y), 3: (y, 260 - x)}[quarters] for x, y in face.landmarks]
    assert np.abs(np.subtract(back, expected.landmarks)).max() < 6


@pytest.mark.parametrize("side", [48, 64, 100, 218, 640, 1500])
def test_a_face_that_fills_the_picture(portraits: list[images.Pixels], side: int) -> None:
    for portrait in portraits[:4]:
        crop = portrait[70:180, 45:135]
        assert len(FINDER.detect(resized(crop, round(side * 90 / 110), side))) == 1


def test_a_faint_face_is_one_where_it_fills_the_picture(portraits: list[images.Pixels]) -> None:
    """A little less than the threshold does for a face that fills the picture, and for no other."""
    strict = YuNet(threshold=0.99)
    for portrait in portraits[:4]:
        crop = portrait[70:180, 45:135]
        (face,) = strict.detect(crop)
        assert 0.99 * detector.FILLING <= face.detection_score < 0.99
        assert max(face.box.width, face.box.height) >= detector.FILLED * 90
        assert not strict.detect(on_grey(crop, 300, 300, 900, 900))


def test_a_face_across_the_edges_of_tiles(portraits: list[images.Pixels]) -> None:
    """On every side of every inner edge of the finest tiles of 1500 × 1200 pixels, one box and no more."""
    small = resized(portraits[3], 73, 90)
    for x in (460, 500, 540, 600, 860):
        (face,) = FINDER.detect(on_grey(small, x, 520, 1500, 1200))
        assert x < face.box.x0 < face.box.x1 < x + 73


@pytest.mark.parametrize("kind", ["gradient", "fine noise", "coarse noise", "noise on a gradient"])
@pytest.mark.parametrize(("width", "height"), [(8, 8), (640, 480), (1300, 40), (9, 2000)])
def test_no_face_where_there_is_none(bench: dict[str, Any], kind: str, width: int, height: int) -> None:
    blank = bench["background"](kind, max(width, 25), max(height, 25), np.random.default_rng(0))[:height, :width]
    assert FINDER.detect(blank) == []


def test_small_faces_in_twelve_megapixels(bench: dict[str, Any], portraits: list[images.Pixels]) -> None:
    rng = np.random.default_rng(1)
    made = bench["scene"](portraits, "noise on a gradient", rng, sizes=(40, 80))
    found, false = bench["match"](FINDER.detect(made.pixels), made.faces)
    assert found >= 0.9 * len(portraits)
    assert false == 0


def test_solvay(photos: Path) -> None:
    assert 29 <= len(FINDER.detect(images.load(photos / "solvay-1927.jpg"))) <= 30


def test_photographs_of_one_person(bench: dict[str, Any], photos: Path) -> None:
    measured = bench["measure_photos"](FINDER, photos)
    assert measured["share"] >= 0.95
    assert measured["more_boxes"] <= 2


@pytest.mark.parametrize("folder", ["celeba-mini", "fairface-mini"])
def test_face_pictures_of_the_data_sets(bench: dict[str, Any], shared_data: Path, folder: str) -> None:
    paths = bench["sample"]((shared_data / folder).rglob("*.jpg"), 100)
    assert bench["measure_crops"](FINDER, paths)["share"] >= 0.99


@pytest.mark.full
def test_scenes_and_data_sets_in_full(bench: dict[str, Any], shared_data: Path) -> None:
    for sizes in ((20, 40), (40, 80)):
        measured = bench["measure_scenes"](FINDER, 16, sizes)
        assert measured["share"] >= 0.9
        assert measured["false_boxes"] <= 2
    for folder in ("celeba-mini", "fairface-mini"):
        paths = sorted((shared_data / folder).rglob("*.jpg"))
        assert bench["measure_crops"](FINDER, paths)["share"] >= 0.99


def test_threads_share_a_detector(portraits: list[images.Pixels]) -> None:
    pictures = [on_grey(portrait, 60, 20) for portrait in portraits] * 2
    expected = [FINDER.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(FINDER.detect, pictures)) == expected


def test_smallest_face(portraits: list[images.Pixels]) -> None:
    picture = on_grey(portraits[0], 60, 20)
    (face,) = FINDER.detect(picture)
    tall = round(max(face.box.width, face.box.height))
    assert len(YuNet(min_face=tall - 3).detect(picture)) == 1
    assert YuNet(min_face=tall + 3).detect(picture) == []


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 1.5}, {"min_face": 0}])
def test_what_no_detector_can_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        YuNet(**wrong)


def test_weights_of_ones_own(tmp_path: Path, portraits: list[images.Pixels]) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(yunet.WEIGHTS.read_bytes())
    picture = on_grey(portraits[0], 60, 20)
    assert YuNet(own).detect(picture) == FINDER.detect(picture)


def test_weights_that_are_not_ours_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    data = bytearray(yunet.WEIGHTS.read_bytes())
    data[100_000] ^= 1
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(data)
    monkeypatch.setattr(yunet, "WEIGHTS", changed)
    with pytest.raises(WeightsError, match="SHA-256"):
        YuNet()
    (tmp_path / "cut.onnx").write_bytes(data[:5000])
    wrong = {"gone.onnx": "No such file", "cut.onnx": "no readable ONNX", str(tiny_model): "not a YuNet"}
    for name, words in wrong.items():
        with pytest.raises(WeightsError, match=words):
            YuNet(tmp_path / name)


def test_the_notice_names_the_file_that_ships() -> None:
    notice = (yunet.WEIGHTS.parent / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert yunet.SHA256 in notice
    assert f"{yunet.WEIGHTS.stat().st_size:,} bytes" in notice


def test_the_largest_face() -> None:
    small, large = (Face(box=Box(x0=0, y0=0, x1=side, y1=side)) for side in (10, 20))
    assert largest_face([small, large]) is large
    assert largest_face([]) is None


@given(st.integers(1, 20_000))
def test_tiles_cover_a_side_and_overlap(length: int) -> None:
    starts = detector._starts(length)
    assert starts[0] == 0
    assert starts[-1] == max(length - detector.TILE, 0)
    for one, following in pairwise(starts):
        assert 0 < following - one <= detector.TILE - detector.OVERLAP


@given(st.integers(8, 65_000), st.integers(8, 65_000), st.integers(1, 500))
def test_scales_start_at_the_overview_and_stay_within_the_limits(height: int, width: int, min_face: int) -> None:
    scales = detector._scales(height, width, min_face)
    assert scales[1:] == sorted(scales[1:])
    assert scales[0] * max(height, width) == pytest.approx(detector.OVERVIEW)
    assert all(b / a <= detector.STEP + 1e-6 for a, b in pairwise(scales[1:]))
    finest = scales[-1]
    assert max(height, width) * finest <= detector.TILE + 1 or height * width * finest**2 <= detector.MOST_PIXELS * 1.01


@given(st.integers(0, 3), st.integers(8, 60), st.integers(8, 60), st.data())
def test_turning_back_finds_the_pixel(quarters: int, width: int, height: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    picture = np.zeros((height, width), bool)
    picture[y, x] = True
    (v,), (u,) = np.nonzero(np.rot90(picture, quarters))
    row = np.array([[u, v, u + 1, v + 1, *[u + 0.5, v + 0.5] * 5, 0.9]], np.float32)
    back = detector._turn_back(row, quarters, width, height)[0]
    assert back.tolist() == pytest.approx([x, y, x + 1, y + 1, *[x + 0.5, y + 0.5] * 5, 0.9])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 500, width=32)] * 4, st.floats(0, 1, width=32)), max_size=30))
def test_merging_keeps_the_best_box_of_each_face(boxes: list[tuple[float, ...]]) -> None:
    rows = np.zeros((len(boxes), 15), np.float32)
    for row, (x, y, wide, high, score) in zip(rows, boxes, strict=True):
        row[:4], row[14] = (x, y, x + wide, y + high), score
    kept = detector._merge(rows)
    assert list(kept[:, 14]) == sorted(kept[:, 14], reverse=True)
    assert len(kept) <= len(rows)
    for index, row in enumerate(kept):
        assert not detector._same(row, kept[index + 1 :]).any()
    if len(rows):
        assert kept[0, 14] == rows[:, 14].max()


def test_boxes_end_where_the_picture_does(portraits: list[images.Pixels]) -> None:
    crop = portraits[0][100:, 60:118]
    (face,) = FINDER.detect(crop)
    assert 0 <= face.box.x0 < face.box.x1 <= crop.shape[1]
    assert 0 <= face.box.y0 < face.box.y1 <= crop.shape[0]


def test_small_faces_are_found_by_a_second_look(
    portraits: list[images.Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of faces 24 pixels high in a picture of 640 × 480, the first look alone is sure of a few."""
    pictures = [on_grey(resized(portrait, 20, 24), 213, 160, 640, 480) for portrait in portraits[:8]]
    assert sum(len(FINDER.detect(picture)) for picture in pictures) >= 7
    monkeypatch.setattr(detector, "SECOND_LOOKS", 0)
    assert sum(len(FINDER.detect(picture)) for picture in pictures) <= 4


def test_second_looks_are_for_doubtful_finds_and_are_a_hundred_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [0.95, 0.86, *[0.84] * 70, *[0.3] * 70]
    rows = rows_of(*((4 * index, 0, 4 * index + 3, 3, score) for index, score in enumerate(scores)))
    finder, looked = YuNet(), []
    monkeypatch.setattr(finder, "_search_tiles", lambda image, scale: rows)
    monkeypatch.setattr(finder, "_look_again", lambda image, row: looked.append(row[14]) or row[None][:0])
    kept = finder._search(black(8, 8), [1.0])
    assert looked == pytest.approx([0.84] * 70 + [0.3] * 30)
    assert kept[:, 14] == pytest.approx(scores[:72])


@pytest.mark.parametrize(
    ("height", "width", "min_face", "expected"),
    [
        (100, 80, 10, [1.92, 2.0]),  # doubled
        (320, 400, 10, [0.48, 1.6]),  # as far as one tile goes
        (640, 500, 10, [0.3, 1.0]),
        (100, 80, 40, [1.92, 2.0]),
    ],
)
def test_a_small_picture_is_searched_enlarged(height: int, width: int, min_face: int, expected: list[float]) -> None:
    assert detector._scales(height, width, min_face) == pytest.approx(expected)


def test_a_large_picture_is_searched_down_to_all_the_pixels_there_may_be() -> None:
    assert detector._scales(4000, 4000, 10)[-1] == 1
    assert detector._scales(8000, 8000, 10)[-1] == pytest.approx(0.5)
    assert detector._scales(8000, 8000, 40)[-1] == pytest.approx(0.25)


def test_a_vast_picture_is_made_small_once(portraits: list[images.Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    """A GIF of 62 bytes may say that it is of 118 megapixels: every search would make all of them small anew."""
    scene = on_grey(resized(portraits[0], 200, 240), 301, 81, width=1001, height=503)
    (as_it_is,) = FINDER.detect(scene)
    monkeypatch.setattr(detector, "MOST_PIXELS", scene.shape[0] * scene.shape[1] // 4)
    shapes = []
    search = YuNet._search

    def watched(finder: YuNet, image: images.Pixels, *rest: Any) -> Any:
        shapes.append(image.shape[:2])
        return search(finder, image, *rest)

    monkeypatch.setattr(YuNet, "_search", watched)
    (face,) = FINDER.detect(scene)
    assert set(shapes) == {(252, 500)}
    assert overlap(face.box, as_it_is.box) > 0.85
    assert face.landmarks is not None
    np.testing.assert_allclose(face.landmarks, as_it_is.landmarks, atol=6)
    assert YuNet(min_face=110).detect(scene) == FINDER.detect(scene)
    assert YuNet(min_face=140).detect(scene) == []


def test_boxes_that_a_tiles_edge_cuts_are_left_to_its_neighbours() -> None:
    """Of the left and the right tile of a picture of 1000 × 500; nothing is cut at the picture's own edges."""
    boxes = [(-5, -5, 40, 40), (0, 300, 40, 520), (600, 50, 645, 90), (300, 50, 340, 90), (620, 50, 639.5, 90)]
    rows = rows_of(*((*box, 0) for box in boxes))
    assert detector._whole(rows, 0, 0, 1000, 500).tolist() == [True, True, False, True, False]
    assert detector._whole(rows, 360, 0, 1000, 500).tolist() == [False, False, True, True, True]
    upended = rows[:, [1, 0, 3, 2, *range(4, 15)]]
    assert detector._whole(upended, 0, 0, 500, 1000).tolist() == [True, True, False, True, False]


def test_what_a_tiles_edge_cuts_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two tiles shows a box at its right edge, which is the picture's own in the right one alone."""
    finder = seeing(monkeypatch, YuNet(), *[rows_of((600, 50, 645, 90, 0.9))] * 2)
    kept = finder._search_tiles(black(1000, 500), 1.0)
    assert kept[:, :4].tolist() == [[960, 50, 1005, 90]]


def test_a_box_inside_another_is_the_same_face() -> None:
    """However small it is, unless more than three tenths of it lie outside."""
    large = [0, 0, 100, 100]
    boxes = [large, [40, 40, 60, 60], [85, 40, 105, 60], [87, 40, 107, 60], [60, 60, 160, 160]]
    rows = rows_of(*((*box, 0.9 - 0.1 * index) for index, box in enumerate(boxes)))
    assert detector._same(rows[0], rows[1:]).tolist() == [True, True, False, False]
    assert detector._same(rows[1], rows[:1]).tolist() == [True]
    assert detector._merge(rows)[:, :4].tolist() == [large, boxes[3], boxes[4]]


def test_what_is_found_in_a_smaller_copy_is_where_it_is_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd sides are rounded: the copy is not a half as wide and high to the last pixel."""
    finder = YuNet()
    monkeypatch.setattr(detector, "MOST_PIXELS", 1001 * 503 // 4)

    def whole(image: images.Pixels, min_face: float) -> list[Face]:
        return [Face(box=Box(x0=0, y0=0, x1=image.shape[1], y1=image.shape[0]))]

    monkeypatch.setattr(finder, "_detect", whole)
    (face,) = finder.detect(black(1001, 503))
    assert (face.box.x1, face.box.y1) == pytest.approx((1001, 503))


@pytest.mark.parametrize(("min_face", "count"), [(40, 1), (41, 0)])
def test_a_face_may_be_as_small_as_the_smallest(monkeypatch: pytest.MonkeyPatch, min_face: int, count: int) -> None:
    finder = YuNet(min_face=min_face)
    monkeypatch.setattr(finder, "_search", lambda *_: rows_of((20, 20, 50, 60, 0.95)))
    assert len(finder.detect(black(100, 100))) == count


def test_a_face_beyond_the_rim_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = YuNet()
    found = rows_of((-40, 20, 10, 60, 0.95), (-60, 20, -10, 60, 0.94), (20, 100, 60, 140, 0.93))
    monkeypatch.setattr(finder, "_search", lambda *_: found)
    (face,) = finder.detect(black(100, 100))
    assert face.box == Box(x0=0, y0=20, x1=10, y1=60)


@pytest.mark.parametrize(("side", "score", "looks"), [(20, 0.15, 1), (20, 0.09, 0), (30, 0.15, 0), (30, 0.25, 1)])
def test_a_small_face_raises_a_doubt_where_a_larger_one_does_not(
    monkeypatch: pytest.MonkeyPatch, side: int, score: float, looks: int
) -> None:
    finder = seeing(monkeypatch, YuNet(), rows_of((40, 40, 40 + side, 40 + side, score)))
    looked = []
    monkeypatch.setattr(finder, "_look_again", lambda image, row: looked.append(row[14]) or row[None][:0])
    assert len(finder._search(black(100, 100), [1.0])) == 0
    assert looked == pytest.approx([score] * looks)


def test_a_threshold_below_every_doubt_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = seeing(monkeypatch, YuNet(threshold=0.05), rows_of((30, 30, 70, 70, 0.06), (80, 80, 90, 90, 0.04)))
    monkeypatch.setattr(finder, "_look_again", lambda image, row: row[None][:0])
    assert finder._search(black(100, 100), [1.0])[:, 14] == pytest.approx([0.06])


@pytest.mark.parametrize(
    ("box", "surroundings"),
    [
        ((50, 20, 80, 40), (20, 0, 100, 60)),
        ((90, 20, 99, 29), (81, 11, 100, 38)),
        ((3, 50, 12, 59), (0, 41, 21, 60)),
        ((120, 70, 120, 70), (99, 59, 100, 60)),  # in the network's black margin, and empty
    ],
)
def test_a_second_look_is_at_a_face_and_its_surroundings(
    monkeypatch: pytest.MonkeyPatch, box: tuple[float, ...], surroundings: tuple[float, ...]
) -> None:
    """Whoever sees the whole close-up as the face says where it lies, to a fraction of a pixel."""
    row = rows_of((*box, 0.3))[0]
    close, _, _ = detector._close_up(black(100, 60), row)
    finder = seeing(monkeypatch, YuNet(), rows_of((0, 0, close.shape[1], close.shape[0], 0.9)))
    monkeypatch.setattr(detector, "_same", lambda row, rows: np.ones(len(rows), bool))
    assert finder._look_again(black(100, 60), row)[0, :4] == pytest.approx(surroundings, abs=0.01)


def test_a_second_look_is_at_one_face_and_not_at_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    row = rows_of((40, 40, 68, 68, 0.3))[0]  # enlarged twice, with 28 pixels around it
    finder = seeing(monkeypatch, YuNet(), rows_of((56, 56, 112, 112, 0.9), (0, 0, 40, 40, 0.95)))
    assert finder._look_again(black(200, 200), row)[:, :4].tolist() == [[40, 40, 68, 68]]


def test_one_face_fills_a_picture_by_its_shorter_side(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = YuNet()
    monkeypatch.setattr(finder, "_search", lambda *_: rows_of((100, 10, 170, 80, 0.6)))
    framed = rows_of((0, 20, 65, 85, 0.5), (70, 0, 98, 28, 0.65))
    assert finder._search_filling(black(200, 100), framed)[:, 14] == pytest.approx([0.6])
    monkeypatch.setattr(finder, "_search", lambda *_: framed[:0])
    assert len(finder._search_filling(black(200, 100), rows_of((0, 0, 59, 59, 0.65)))) == 0


def test_a_face_in_a_framed_picture_is_where_it_is_in_the_picture_though_doubtful(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The frame around 192 × 100 pixels, a half of the picture's, is 96 pixels wide on every side."""
    nothing = rows_of((0, 0, 9, 9, 0.01))
    finder = seeing(monkeypatch, YuNet(), rows_of((96, 96, 288, 196, 0.55), (10, 10, 60, 60, 0.45)), nothing, nothing)
    found = finder._search_framed(black(384, 200))
    assert found[:, [0, 1, 2, 3, 14]] == pytest.approx(np.array([[0, 0, 384, 200, 0.55]]))


def test_a_turned_face_is_where_it_is_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 333 × 500 pixels, enlarged to 426 × 640: the width is rounded, and the height is not."""
    finder = YuNet()
    monkeypatch.setattr(finder, "_likely_turns", lambda *_: [1])
    monkeypatch.setattr(finder, "_search", lambda image, scales: rows_of((0, 0, image.shape[1], image.shape[0], 0.9)))
    found = finder._search_turned(black(333, 500), rows_of((0, 0, 20, 20, 0.8)))
    assert found[:, :4] == pytest.approx(np.array([[0, 0, 333, 500]]), abs=0.01)


def test_a_face_is_taken_for_turned_only_where_it_looks_more_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    finder, upright = YuNet(), rows_of((0, 0, 20, 20, 0.8))
    monkeypatch.setattr(finder, "_likely_turns", lambda *_: [1, 3])
    scores = iter((0.7, 0.8))
    monkeypatch.setattr(finder, "_search", lambda *_: rows_of((0, 0, 60, 60, next(scores))))
    assert finder._search_turned(black(100, 100), upright) is upright


@pytest.mark.parametrize(("scores", "turns"), [((0.9, 0.1, 0.2, 0.1), []), ((0.3, 0.1, 0.2, 0.8), [3])])
def test_a_picture_is_turned_as_its_best_face_looks_more_like_one(
    monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...], turns: list[int]
) -> None:
    finder = seeing(monkeypatch, YuNet(), *(rows_of((0, 0, 20, 20, score)) for score in scores))
    assert finder._likely_turns(black(100, 100), rows_of((40, 40, 60, 60, 0.5))) == turns


def test_a_picture_is_averaged_as_it_is_made_small() -> None:
    board = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.abs(detector._resize(board, 1 / 3).astype(int) - 127).max() < 20


def test_the_best_thousand_boxes_are_compared() -> None:
    boxes = [(20 * index, 0, 20 * index + 10, 10, 0.9 - index / 2000) for index in range(1200)]
    assert len(detector._merge(rows_of(*reversed(boxes)))) == detector.MOST_BOXES
    assert detector._merge(rows_of(*reversed(boxes)))[-1, 14] == pytest.approx(0.9 - 999 / 2000)


def outputs(*, cls: float = 1, obj: float = 1, size: float = 0) -> dict[str, yunet.Floats]:
    """Return what the network says of one cell at a stride of 8 pixels."""
    cells = {"cls": [cls], "obj": [obj], "bbox": [0, 0, size, size], "kps": [0] * 10}
    return {f"{head}_8": np.array([[values]], np.float32) for head, values in cells.items()}


def test_a_score_may_be_the_threshold_itself_and_is_never_beyond_one() -> None:
    assert yunet._decode(outputs(cls=0.25), 8, 1, 0.5)[:, 14].tolist() == [0.5]
    assert yunet._decode(outputs(cls=4), 8, 1, 0.5)[:, 14].tolist() == [1]
    assert len(yunet._decode(outputs(cls=-1, obj=-1), 8, 1, 0.5)) == 0


def test_boxes_of_damaged_weights_are_numbers() -> None:
    assert np.isfinite(yunet._decode(outputs(size=1000), 8, 1, 0.5)).all()


def test_weights_of_ones_own_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.onnx").write_bytes(yunet.WEIGHTS.read_bytes())
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(YuNet(Path("own.onnx")))
    monkeypatch.chdir("/")
    assert pickle.loads(sent).detect(black(64, 64)) == []
