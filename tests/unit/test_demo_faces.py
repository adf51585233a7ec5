"""The demo set: who is in which picture, and that the same seed gives the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perceived import demo_faces
from perceived.errors import ConfigError


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_people_have_one_or_two_pictures_all_in_one_partition(count: int) -> None:
    cast = demo_faces.draw_cast(np.random.default_rng(0), count)
    assert len(cast.identity) == len(cast.partition) == count
    for person in range(len(cast.male)):
        theirs = cast.identity == person
        assert 1 <= theirs.sum() <= 2
        assert len(set(cast.partition[theirs])) == 1


def test_a_demo_set_has_celebas_proportions() -> None:
    cast = demo_faces.draw_cast(np.random.default_rng(0), 1000)
    assert np.bincount(cast.partition).tolist() == [700, 150, 150]
    assert abs(cast.male[cast.identity].mean() - 84_434 / 202_599) < 0.02


def test_the_same_seed_gives_the_same_files_and_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    demo_faces.write(tmp_path / "one", count=3, seed=5, progress=lambda done, total: told.append((done, total)))
    demo_faces.write(tmp_path / "again", count=3, seed=5)
    demo_faces.write(tmp_path / "other", count=3, seed=6)
    assert told[-1] == (3, 3)
    assert files(tmp_path / "one") == files(tmp_path / "again")
    picture = "img_align_celeba/000001.jpg"
    assert files(tmp_path / "one")[picture] != files(tmp_path / "other")[picture]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not a demo set"):
        demo_faces.write(tmp_path, count=3)
    assert files(tmp_path) == {"letter.txt": b"mine"}


@pytest.mark.parametrize("about", ['{"source": "demo"}', '["demo"]', "demo"])
def test_a_set_of_ones_own_is_left_alone_whatever_it_is_called(tmp_path: Path, about: str) -> None:
    (tmp_path / "dataset.json").write_text(about)
    with pytest.raises(ConfigError, match="not a demo set"):
        demo_faces.write(tmp_path, count=3)


def test_a_demo_set_takes_the_place_of_another(tmp_path: Path) -> None:
    for count in (3, 2):
        demo_faces.write(tmp_path / "demo", count=count)
    assert len(list((tmp_path / "demo" / "img_align_celeba").iterdir())) == 2


def test_a_demo_set_to_which_somebody_has_added_is_left_alone(tmp_path: Path) -> None:
    demo_faces.write(tmp_path / "demo", count=2)
    (tmp_path / "demo" / "mine.txt").touch()
    with pytest.raises(ConfigError, match="is not a demo set"):
        demo_faces.write(tmp_path / "demo", count=2)
    assert (tmp_path / "demo" / "mine.txt").exists()
