"""Videos and cameras: frames in, followed faces out, and an annotated video if one is wanted.

FFmpeg, through PyAV (the extra ``video``), decodes and encodes. Files and cameras are opened, never
an address.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from perceived import draw
from perceived.errors import ConfigError, ImageError
from perceived.predictor import Predictor
from perceived.preprocess import Pixels
from perceived.tracking import Track, Tracker
from perceived.types import Prediction

CAMERA = "camera"
MISSING_SECONDS, MISSING = 1.0, 0.05
"""How much a video may be shorter than it says, in seconds and as a share: the larger of both."""
RESTART_SECONDS = 1.0
"""Time that falls by more begins anew, where recordings were put behind one another; by less, frames change places."""
_WRITES_DURATION = frozenset(("mov", "matroska", "webm"))
"""Formats that say how long they are; of others FFmpeg reckons it from the file's size."""
TICKS = 1000
"""Ticks a second of the annotated video's clock: frames keep their own times, which may be irregular."""
CODECS = ("libx264", "libopenh264", "libvpx-vp9", "libvpx")
"""Encoders of the annotated video, the first that this FFmpeg has and that the kind of file may hold."""
SCATTERED = ("hls", "dash", "segment", "h264")
"""Formats, as FFmpeg calls them, that are several files, or that keep no times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One upright frame: ``seconds`` from the start, RGB uint8 ``(h, w, 3)``."""

    seconds: float
    image: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A frame and the faces in it, each with its track."""

    frame: Frame
    faces: Sequence[tuple[Track, Prediction]]


def frames(source: str | os.PathLike[str], *, lost: list[str] | None = None) -> Iterator[Frame]:
    """Yield the frames of a video file, or of a camera: ``camera``, or ``camera:1`` for the second one.

    Packets that are damaged are passed over, as players do; what is wrong with each is added to ``lost``.

    Raises:
        ImageError: there is no such video or camera, or it ends in damage; frames before that are yielded.
    """
    source = os.fspath(source) if isinstance(source, str | os.PathLike) else source
    if not isinstance(source, str):
        raise ImageError(f"A value of type {type(source).__name__} is no video.", expected="a path, or camera")
    name, form, options = _address(source)
    start: float | None = None
    time = end = 0.0
    try:
        with av.open(name, format=form, options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ImageError(f"{source} holds no video.", expected="a file with at least one video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame, time, lasts in _timed(_decoded(container, stream, [] if lost is None else lost), stream):
                end = time + lasts
                start = time if start is None else start
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                yield Frame(seconds=max(0.0, time - start), image=np.ascontiguousarray(upright, np.uint8))
            if start is None:
                raise ImageError(f"{source} has no frame that can be read.", mend="copy the file again")
            promised = _promised(container, stream)
            if promised is not None and end < promised - max(MISSING_SECONDS, MISSING * promised):
                raise ImageError(
                    f"{source} breaks off after {end - start:.1f} s: it says that it is {promised:.1f} s long.",
                    mend="copy the file again; what came before is answered",
                )
    except av.FFmpegError as error:
        if start is not None:
            raise ImageError(
                f"{source} breaks off after {time - start:.1f} s: {error.strerror or error}.",
                mend="plug the camera in again" if form else "copy the file again; what came before is answered",
            ) from error
        if form is not None:
            raise ImageError(f"There is no camera {source}: {name} cannot be opened.", mend="plug it in") from error
        raise ImageError(
            f"{source} cannot be read as a video: {error.strerror or error}.",
            expected="a video file that FFmpeg reads, or camera, or camera:1",
            mend="check the path, or copy the file again",
        ) from error


def _timed(decoded: Iterable[av.VideoFrame], stream: av.VideoStream) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Yield frames, when they begin and how long they last in seconds; one without a time follows the one before."""
    time = behind = 0.0
    for index, frame in enumerate(decoded):
        step = 1 / float(stream.guessed_rate or 25)
        if frame.time is not None:
            if index and frame.time + behind < time - RESTART_SECONDS:
                behind = time + step - frame.time
            time = max(time, frame.time + behind) if index else frame.time
        elif index:
            time += step
        lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
        yield frame, time, lasts


def _promised(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Return how many seconds a file says that it shows; nothing where that is not written in it, but reckoned."""
    is_cover = bool(stream.disposition & av.stream.Disposition.attached_pic)
    if is_cover or not _WRITES_DURATION.intersection(container.format.name.split(",")):
        return None
    said = [container.duration / av.time_base] if container.duration else []
    if stream.duration and stream.time_base:
        said.append(float(stream.duration * stream.time_base))
    alone = len(container.streams) == 1  # else a longer sound may be what the whole lasts
    return min(said) if said and (alone or len(said) > 1) else None


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, lost: list[str]
) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except IndexError as error:  # damage has named a stream that there is none of
            raise av.InvalidDataError(0, "a packet belongs to no stream") from error
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.InvalidDataError as error:
            lost.append(str(error))


def is_camera(source: str) -> bool:
    """Say whether a source is a camera and no file: ``camera`` or ``camera:1``."""
    return source.partition(":")[0] == CAMERA


def _address(source: str) -> tuple[str, str | None, dict[str, str]]:
    """Return what FFmpeg opens: name, format and options. A playlist may lead to files only, not to addresses."""
    which = source.partition(":")[2]
    if not is_camera(source):
        if "://" in source:
            raise ConfigError(f"{source} is an address.", expected="a video file or a camera", mend="download it first")
        return f"file:{source}", None, {"protocol_whitelist": "file"}
    if sys.platform == "darwin":
        return which or "0", "avfoundation", {"framerate": "30"}
    return f"/dev/video{which or 0}", "v4l2", {}


def follow(predictor: Predictor, video: Iterable[Frame], tracker: Tracker, *, every: int = 1) -> Iterator[Followed]:
    """Look for faces in every ``every``-th frame, answer for them and follow them with ``tracker``.

    All frames are yielded; those between have the faces of the last one that was looked at.

    Raises:
        ConfigError: ``every`` is not 1 or more.
    """
    if every < 1:
        raise ConfigError(f"Every {every}th frame is impossible.", expected="1 or more")
    faces: list[tuple[Track, Prediction]] = []
    for index, frame in enumerate(video):
        if index % every == 0:
            predictions = predictor.predict(frame.image).faces
            faces = list(zip(tracker.follow(predictions, frame.seconds), predictions, strict=True))
        yield Followed(frame=frame, faces=faces)


def annotate(followed: Followed, threshold: float) -> Pixels:
    """Return a frame with a box for each face, and its track's number and answer so far."""
    answers = [track.answer(threshold) for track, _ in followed.faces]
    return draw.annotate(
        followed.frame.image,
        answers,
        [f"{track.number}: {draw.caption(answer)}" for (track, _), answer in zip(followed.faces, answers, strict=True)],
    )


class Recorder:
    """Writes frames to a video file; use it in a ``with`` statement.

    Raises:
        ConfigError: FFmpeg knows no video format by the file's ending, or none that holds what it encodes.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._container = av.open(f"file:{path}", "w")  # else a colon may end the name of a protocol
        except ValueError as error:
            raise _no_video(path) from error
        if self._container.format.name in SCATTERED:
            self._container.close()
            raise _no_video(path)
        fitting = av.codecs_available & self._container.supported_codecs
        self._codec = next((name for name in CODECS if name in fitting), None)
        if self._codec is None:
            self._container.close()
            raise _no_video(path)
        self._stream: Any = None
        self._ticks = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if self._stream is not None:
                self._container.mux(self._stream.encode())

    def write(self, image: Pixels, seconds: float) -> None:
        """Add a frame, RGB uint8 ``(h, w, 3)``; the first one's size is the video's."""
        even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._container.add_stream(self._codec, rate=TICKS)
            self._stream.codec_context.time_base = Fraction(1, TICKS)
            self._stream.width, self._stream.height = even.shape[1], even.shape[0]
            self._stream.pix_fmt = "yuv420p"
            if self._container.format.name == "avi":  # which tells only in what order frames are decoded
                self._stream.codec_context.max_b_frames = 0
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        self._ticks = max(self._ticks + 1, round(seconds * TICKS))
        frame.pts, frame.time_base = self._ticks, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))


def _no_video(path: str | Path) -> ConfigError:
    return ConfigError(f"{Path(path).name!r} is no name for a video.", expected="an ending such as .mp4, .mkv or .webm")
