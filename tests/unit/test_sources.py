"""Which pictures the words on a command line mean."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path, PurePath

import pytest

from perceived import images, sources
from perceived.errors import ConfigError, ImageError
from perceived.sources import Found, distinct, find


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "deep/c.webp", ".cache/d.jpg", "deep/e[1].jpg"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "album"


def names(*words: str | Path) -> list[str]:
    return [one.relative.as_posix() for one in find(map(os.fspath, words))]


def test_a_folder_means_the_pictures_in_it_and_below(album):
    assert names(album) == ["a.PNG", "b.jpg", "deep/c.webp", "deep/e[1].jpg"]
    assert next(find([str(album)])).location == str(album / "a.PNG")


def test_files_are_taken_as_they_are(album):
    assert names(album / "notes.txt", album / "b.jpg", album / "gone.jpg", "-") == [
        *("notes.txt", "b.jpg", "gone.jpg", "stdin"),
    ]


def test_patterns(album):
    assert names(album / "*.*") == ["a.PNG", "b.jpg", "notes.txt"]
    assert names(album / "**" / "*.webp") == ["c.webp"]
    assert names(album / "deep" / "e[1].jpg") == ["e[1].jpg"], "a file's own name is no pattern"
    assert names(album / "*.tiff") == ["*.tiff"], "reading it will say that there is none"
    assert names(album / "dee?") == ["c.webp", "e[1].jpg"]
    assert names(album / "**") == names(album), "none comes twice"
    assert names(album / "**" / "d*") == ["c.webp", "e[1].jpg"]
    assert names(album / "**" / "*.tiff") == ["*.tiff"]


def test_a_folder_that_cannot_be_listed_is_not_passed_over(album, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert names(album) == ["a.PNG", "b.jpg", "deep"], "reading it will say why"


def test_links_in_circles_end(album, monkeypatch):
    for name in ("up", "up2"):
        (album / "deep" / name).symlink_to("..", target_is_directory=True)
    assert len(names(album)) == 4
    assert names(album / "**" / "*.jpg") == ["b.jpg", "e[1].jpg"]
    assert names(album / "**" / "deep" / "**" / "*.webp") == ["c.webp"]
    monkeypatch.chdir(album)
    assert [one.location for one in find(["**/*.jpg"])] == ["b.jpg", "deep/e[1].jpg"]
    assert [one.location for one in find(["**"])] == ["a.PNG", "b.jpg", "deep/c.webp", "deep/e[1].jpg"]


def test_links_to_folders_are_followed_once(album, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.jpg").touch()
    for name in ("far", "again"):
        (album / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(album) == ["a.PNG", "b.jpg", "deep/c.webp", "deep/e[1].jpg", "again/f.jpg"]
    assert names(album / "**" / "f.*") == ["f.jpg"]


def test_a_link_that_may_not_be_followed_is_where_it_stands(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os.path, "realpath", refuse)
    assert sources.real(tmp_path / "x.jpg") == tmp_path / "x.jpg"


def test_an_empty_word_is_not_the_folder_one_is_in():
    with pytest.raises(ConfigError, match="names no picture"):
        names("")


def test_videos_have_their_own_command(album):
    with pytest.raises(ConfigError, match="video"):
        names(album / "b.jpg", album / "clip.MP4")


def test_a_video_that_a_pattern_matches_is_left_to_the_reader(album):
    (album / "clip.MP4").write_bytes(bytes(100))
    assert "clip.MP4" in [one.relative.name for one in find([f"{album}/*"])]
    with pytest.raises(ImageError, match="a video, not a picture") as caught:
        images.load(album / "clip.MP4")
    assert caught.value.mend == f"perceived video {album / 'clip.MP4'}"


def test_drawings_of_different_pictures_have_different_names(album):
    words = [str(album), str(album / "b.jpg"), str(album / "B.png"), str(album / "deep")]
    found = [one.relative.as_posix() for one in distinct(find(words))]
    assert found == [
        *("a.PNG", "b.jpg", "deep/c.webp", "deep/e[1].jpg"),
        *("b-2.jpg", "B-3.png", "c.webp", "e[1].jpg"),
    ]


def test_many_pictures_of_one_name_are_told_apart_in_no_time():
    same = (Found(location=f"{n}/photo.jpg", relative=PurePath("photo.jpg")) for n in range(20_000))
    began = time.process_time()
    assert [one.relative.name for one in distinct(same)][-1] == "photo-20000.jpg"
    assert time.process_time() - began < 5


def test_folders_that_may_not_be_listed_are_found_by_a_pattern(album, monkeypatch):
    """They are rows then, which say so, as where the folder itself is asked for."""
    access, scandir = os.access, os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("deep") and access(path, mode))
    monkeypatch.setattr(os, "scandir", refuse)
    for pattern in ("*/*.webp", "**/*.webp"):
        assert [one.location for one in find([str(album / pattern)])] == [str(album / "deep")]
