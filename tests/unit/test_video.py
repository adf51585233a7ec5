"""Videos made here, of portraits of nobody that move: read, followed, annotated and read again."""

from __future__ import annotations

import itertools
import json
import sys
from contextlib import nullcontext
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra 'video'")

import av

from perceived import video
from perceived.errors import ConfigError, ImageError
from perceived.predictor import Predictor
from perceived.tracking import Tracker
from perceived.video import Recorder, _address, follow, frames


@pytest.fixture(scope="module")
def clip(portraits, tmp_path_factory):
    """Two seconds, at 10 frames a second, of two portraits that move towards each other; one leaves halfway."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with Recorder(path) as recorder:
        for step in range(20):
            image = np.full((281, 521, 3), 120, np.uint8)
            image[30:248, 4 * step : 4 * step + 178] = portraits[0]
            if step < 10:
                image[50:268, 340 - 3 * step : 518 - 3 * step] = portraits[1]
            recorder.write(image, step / 10)
    return path


def test_frames_have_their_times_and_pixels(clip):
    read = list(frames(clip))
    assert [frame.seconds for frame in read] == pytest.approx([step / 10 for step in range(20)], abs=0.002)
    assert {frame.image.shape for frame in read} == {(282, 522, 3)}
    assert np.abs(read[0].image[5, -5].astype(int) - 120).max() < 6


def test_each_face_has_one_answer(run, tiny_model, clip):
    answer = run("video", clip, "--model", tiny_model, "--json", "--every", "2")
    assert answer.code == 0, answer.err
    first, second = sorted((json.loads(line) for line in answer.out.splitlines()), key=lambda row: row["last_seconds"])
    assert (first["frames"], second["frames"]) == (5, 10)
    assert (first["last_seconds"], second["last_seconds"]) == pytest.approx((0.8, 1.8), abs=0.002)
    for row in (first, second):
        assert (row["schema"], row["model"], row["source"], row["first_seconds"]) == (1, "tiny", str(clip), 0.0)
        assert sum(row["probability"].values()) == pytest.approx(1, abs=1e-5)


def test_the_annotated_video_has_every_frame_with_boxes(run, tiny_model, clip, tmp_path):
    out = tmp_path / "out" / "drawn.mp4"
    answer = run("video", clip, "--model", tiny_model, "--out", out)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == f"video: {out}"
    before, after = list(frames(str(clip))), list(frames(str(out)))
    assert len(after) == len(before) == 20
    for old, new in zip(before, after, strict=True):
        assert new.seconds == pytest.approx(old.seconds, abs=0.002)
        assert (np.abs(new.image.astype(int) - old.image).max(axis=2) > 60).mean() > 0.005


def test_frames_between_keep_the_faces_of_the_last_one(tiny_model, clip):
    followed = list(follow(Predictor(tiny_model), frames(str(clip)), Tracker(), every=4))
    looked_at = [one.faces for one in followed[::4]]
    assert [one.faces for one in followed] == [faces for faces in looked_at for _ in range(4)]
    assert [len(one.faces) for one in followed] == [2] * 12 + [1] * 8


def test_seconds_end_a_video(run, tiny_model, clip):
    answer = run("video", clip, "--model", tiny_model, "--json", "--every", "1", "--seconds", "0.45")
    assert {json.loads(line)["frames"] for line in answer.out.splitlines()} == {5}


def test_what_is_no_video(run, tiny_model, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path in (text, tmp_path / "gone.mp4", tmp_path):
        with pytest.raises(ImageError, match="cannot be read as a video"):
            next(frames(str(path)))
    answer = run("video", text, "--model", tiny_model, "--out", tmp_path / "out.mp4")
    assert answer.code == 2
    assert not (tmp_path / "out.mp4").exists()
    assert run("video", text, "--model", tiny_model, "--every", "0").code == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_video_yields_what_is_before_the_cut_or_says_so(clip, tmp_path, share):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    with Recorder(whole) as recorder:
        for frame in frames(str(clip)):
            recorder.write(frame.image, frame.seconds)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    read = []
    try:
        read += frames(str(cut))
    except ImageError as error:
        assert "cut.mkv" in error.what  # noqa: PT017 -- either outcome is right; which one is FFmpeg's
    else:
        assert read
    assert len(read) < 20
    assert read or share < 0.9


def encode(path, count, codec="mpeg4", **options):
    """Write so many frames of noise, ten a second."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        for step in range(count):
            noise = np.random.default_rng(step).integers(0, 256, (64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_video_that_ends_before_it_says_so_is_told(ending, tmp_path):
    """A download that broke off: what says how long it is stands before the frames that are missing."""
    whole, cut = tmp_path / f"whole{ending}", tmp_path / f"cut{ending}"
    encode(whole, 60, **({"movflags": "faststart"} if ending == ".mp4" else {}))
    assert len(list(frames(str(whole)))) == 60
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    read = []
    with pytest.raises(ImageError, match=rf"cut\{ending} breaks off after [23]\.\d s"):
        read.extend(frames(str(cut)))
    assert 20 < len(read) < 40


@pytest.mark.parametrize(("share", "breaks_off"), [(1.03, False), (1.2, True)])
def test_a_twentieth_of_a_video_may_be_missing(monkeypatch, tmp_path, share, breaks_off):
    encode(tmp_path / "film.mp4", 400)
    monkeypatch.setattr(video, "_promised", lambda *_: 40 * share)
    with pytest.raises(ImageError, match="breaks off") if breaks_off else nullcontext():
        assert sum(1 for _ in frames(str(tmp_path / "film.mp4"))) == 400


def test_what_a_film_with_a_sound_lasts_is_not_what_its_pictures_do():
    stream = SimpleNamespace(disposition=av.stream.Disposition(0), duration=None, time_base=None)
    film = SimpleNamespace(duration=9 * av.time_base, format=SimpleNamespace(name="mov,mp4"), streams=[stream])
    assert video._promised(film, stream) == 9
    film.streams.append(SimpleNamespace())
    assert video._promised(film, stream) is None
    stream.duration, stream.time_base = 500, Fraction(1, 100)
    assert video._promised(film, stream) == 5


def test_time_goes_on_where_recordings_were_put_behind_one_another(tmp_path):
    encode(tmp_path / "one.ts", 24, codec="mpeg2video")
    (tmp_path / "two.ts").write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    times = [frame.seconds for frame in frames(str(tmp_path / "two.ts"))]
    steps = np.diff(times)
    assert len(times) == 48
    assert (steps > 0).all()
    np.testing.assert_allclose(np.delete(steps, 23), 0.1, atol=0.02)


def test_frames_that_change_places_do_not_make_a_video_longer(clip, monkeypatch):
    """AVI has no times of its own for them, and FFmpeg's are a little out of order."""
    decoded = video._decoded

    def shuffled(container, stream, lost):
        for index, frame in enumerate(decoded(container, stream, lost)):
            frame.pts += (0, 200, -100)[index % 3] * frame.time_base.denominator // 1000
            yield frame

    whole = [frame.seconds for frame in frames(str(clip))]
    monkeypatch.setattr(video, "_decoded", shuffled)
    assert max(frame.seconds for frame in frames(str(clip))) == pytest.approx(whole[-1], abs=0.25)


def test_a_cover_is_no_video_that_breaks_off(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=25)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        for step in range(40):
            chunk = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            chunk.sample_rate, chunk.pts = 8000, 1024 * step
            container.mux(sound.encode(chunk))
        container.mux(sound.encode())
        container.mux(cover.encode())
    assert len(list(frames(str(tmp_path / "song.mp4")))) == 1


def test_damaged_frames_are_passed_over(run, tiny_model, tmp_path):
    with Recorder(tmp_path / "whole.mp4") as recorder:
        for step in range(60):
            noise = np.random.default_rng(step).integers(0, 256, (64, 64, 3), np.uint8)
            recorder.write(noise, step / 10)
    data = bytearray((tmp_path / "whole.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "spoilt.mp4").write_bytes(data)
    lost = []
    read = list(frames(str(tmp_path / "spoilt.mp4"), lost=lost))
    assert 40 < len(read) < 60
    assert read[-1].seconds == pytest.approx(5.9, abs=0.002)
    assert lost
    answer = run("video", tmp_path / "spoilt.mp4", "--model", tiny_model)
    told = f"{len(lost)} damaged packet{'s' * (len(lost) > 1)} passed over"
    assert (answer.code, told in answer.err) == (0, True), answer.err


def write_black(path, codec, *, rate, count, **tags):
    """Write a video of black frames, as another program would."""
    with av.open(str(path), "w") as written:
        written.metadata.update(tags)
        stream = written.add_stream(codec, rate=rate)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(count):
            written.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        written.mux(stream.encode())


def test_tags_that_are_not_unicode_are_no_obstacle(tmp_path):
    path = tmp_path / "old.avi"
    write_black(path, "mpeg4", rate=25, count=3, title="CafXXX")
    path.write_bytes(path.read_bytes().replace(b"CafXXX", b"Caf\xe9 1"))
    assert len(list(frames(str(path)))) == 3


def test_a_packet_of_no_stream_breaks_a_video_off():
    class Damaged:
        def demux(self, stream):
            yield from ()
            raise IndexError("list index out of range")

    with pytest.raises(av.InvalidDataError, match="belongs to no stream"):
        list(video._decoded(Damaged(), None, []))


def breaking(error, after):
    """What reads a video so far, and no further."""

    def read(source, lost=None):
        for index, frame in enumerate(frames(source)):
            if index == after:
                raise error
            yield frame

    return read


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(ImageError("It breaks off."), 1, "Error: It breaks off."), (KeyboardInterrupt(), 130, "stopped after 0.9 s")],
)
def test_what_was_seen_before_the_end_is_answered(run, monkeypatch, tiny_model, clip, tmp_path, error, code, message):
    monkeypatch.setattr("perceived.video.frames", breaking(error, 10))
    answer = run("video", clip, "--model", tiny_model, "--out", tmp_path / "drawn.mp4", "--every", "1")
    assert answer.code == code
    assert message in answer.err
    assert answer.out.count(" 0.9 s") == 2
    assert sum(1 for _ in frames(str(tmp_path / "drawn.mp4"))) == 10


def test_control_c_before_the_first_frame_leaves_nothing(run, monkeypatch, tiny_model, clip, tmp_path):
    monkeypatch.setattr("perceived.video.frames", breaking(KeyboardInterrupt(), 0))
    answer = run("video", clip, "--model", tiny_model, "--out", tmp_path / "out" / "drawn.mp4")
    assert (answer.code, answer.out) == (130, "")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(("source", "code"), [("camera", 0), ("camera:1", 0), ("camera.mp4", 130)])
def test_control_c_is_the_way_to_end_a_camera(run, monkeypatch, tiny_model, clip, source, code):
    monkeypatch.setattr("perceived.video.frames", lambda source, lost: breaking(KeyboardInterrupt(), 3)(str(clip)))
    answer = run("video", source, "--model", tiny_model, "--json")
    assert (answer.code, answer.out.count("\n")) == (code, 2)


def test_a_break_tells_where_it_is(monkeypatch, clip):
    import av

    decoded = video._decoded

    def failing(container, stream, lost):
        yield from itertools.islice(decoded(container, stream, lost), 10)
        raise av.FFmpegError(5, "Input/output error")

    monkeypatch.setattr(video, "_decoded", failing)
    with pytest.raises(ImageError, match=r"clip\.mp4 breaks off after 0\.9 s: Input/output error"):
        list(frames(str(clip)))


def test_a_name_that_is_no_videos(tmp_path):
    with pytest.raises(ConfigError, match=r"drawn\.xyz"):
        Recorder(tmp_path / "drawn.xyz")


@pytest.mark.parametrize("name", ["drawn.webm", "drawn.mkv", "drawn.avi"])
def test_kinds_of_annotated_videos(tmp_path, name):
    with Recorder(tmp_path / name) as recorder:
        for step in range(5):
            recorder.write(np.full((64, 64, 3), 40 * step, np.uint8), step / 10)
    assert len(list(frames(str(tmp_path / name)))) == 5


def test_a_colon_in_a_name_names_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Recorder("12:30.mp4") as recorder:
        recorder.write(np.zeros((64, 64, 3), np.uint8), 0.0)
    assert len(list(frames("12:30.mp4"))) == 1


@pytest.mark.parametrize("name", ["drawn.gif", "drawn.jpg", "drawn.m3u8", "drawn.mpd", "drawn.h264"])
def test_pictures_and_scattered_videos_are_no_videos(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.mp4"):
        Recorder(tmp_path / name)


def test_a_video_is_not_written_over_itself(run, tiny_model, clip, tmp_path):
    (tmp_path / "own.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "link.mp4").symlink_to(tmp_path / "own.mp4")
    for out in ("own.mp4", "link.mp4"):
        answer = run("video", tmp_path / "own.mp4", "--model", tiny_model, "--out", tmp_path / out)
        assert (answer.code, "is the video itself" in answer.err) == (2, True)
    assert (tmp_path / "own.mp4").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf"])
def test_impossible_seconds(run, tiny_model, clip, seconds):
    answer = run("video", clip, "--model", tiny_model, "--seconds", seconds)
    assert (answer.code, "impossible" in answer.err) == (2, True)


def test_a_camera_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ImageError, match="There is no camera camera:97: /dev/video97"):
        next(frames("camera:97"))


def test_addresses_are_never_opened():
    for address in ("https://example.org/clip.mp4", "rtsp://10.0.0.1/stream"):
        with pytest.raises(ConfigError, match="address"):
            next(frames(address))
    assert _address("http:odd.mp4") == ("file:http:odd.mp4", None, {"protocol_whitelist": "file"})


@pytest.mark.parametrize(
    ("system", "source", "opened"),
    [
        ("linux", "camera", ("/dev/video0", "v4l2")),
        ("linux", "camera:2", ("/dev/video2", "v4l2")),
        ("darwin", "camera:1", ("1", "avfoundation")),
    ],
)
def test_cameras(monkeypatch, system, source, opened):
    monkeypatch.setattr(sys, "platform", system)
    assert _address(source)[:2] == opened


def test_predict_sends_videos_to_the_other_command(run, tiny_model, clip):
    answer = run("predict", clip, "--model", tiny_model)
    assert answer.code == 2
    assert f"perceived video {clip}" in answer.err


def test_what_is_no_path_is_no_video():
    with pytest.raises(ImageError, match="bytes is no video"):
        next(frames(b"clip.mp4"))


def test_a_video_that_was_filmed_sideways_is_turned_upright(tmp_path):
    """What is bright in the upper left of the stored frame is in the upper right of the one that is shown."""
    path = tmp_path / "phone.mp4"
    image = np.full((48, 96, 3), 30, np.uint8)
    image[:16, :32] = 230
    with Recorder(path) as recorder:
        for step in range(3):
            recorder.write(image, step / 10)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    assert data[matrix : matrix + 36] == np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[matrix : matrix + 36] = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)
    for frame in frames(path):
        assert frame.image.shape == (96, 48, 3)
        bright = frame.image[..., 0] > 130
        assert bright[2:30, 34:46].all()
        assert not bright[:, :30].any()
        assert not bright[34:].any()


def test_time_counts_from_the_first_frame(tmp_path):
    path = tmp_path / "late.mkv"
    with Recorder(path) as recorder:
        for step in range(3):
            recorder.write(np.zeros((64, 64, 3), np.uint8), 5 + step / 10)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).time == pytest.approx(5)
    assert [frame.seconds for frame in frames(path)] == pytest.approx([0, 0.1, 0.2], abs=0.002)


def test_frames_of_the_same_time_are_written_one_after_the_other(tmp_path):
    path = tmp_path / "crowded.mkv"
    with Recorder(path) as recorder:
        for shade, seconds in ((0, 0.0), (80, 0.0), (160, 0.0), (240, 0.1)):
            recorder.write(np.full((64, 64, 3), shade, np.uint8), seconds)
    read = list(frames(path))
    assert [frame.seconds for frame in read] == pytest.approx([0, 0.001, 0.002, 0.1])
    assert [int(frame.image.mean()) for frame in read] == pytest.approx([0, 80, 160, 240], abs=6)


def test_frames_that_have_no_time_follow_at_the_videos_rate(tmp_path):
    """A bare stream of H.264 knows its rate, and none of its frames a time."""
    path = tmp_path / "bare.h264"
    write_black(path, "libx264", rate=10, count=4)
    assert [frame.seconds for frame in frames(path)] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_times_never_fall_and_pauses_are_kept(tmp_path, name):
    path = tmp_path / name
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8), (0, 0), 3)
    with Recorder(path) as recorder:
        for step in range(50):
            recorder.write(wide[:, step : step + 64], step / 10 if step < 25 else 5 + step / 10)
    read = [frame.seconds for frame in frames(path)]
    assert read == sorted(read)
    assert read[-1] == pytest.approx(9.9, abs=0.2)
