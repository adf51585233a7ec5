"""Faces followed from frame to frame, so that each person of a video has one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perceived.classifier import answer
from perceived.types import Box, Prediction

SAME_FACE = 0.3
"""Intersection over union from which a face in the next frame is the same one."""
PATIENCE = 1.0
"""Seconds for which a face may be out of sight and still be the same one when it returns to its place.

However far apart two looks are, a face of the one before is the same in the next.
"""


@dataclass(slots=True, kw_only=True)
class Track:
    """One face through time: where it was last, and the votes on it so far.

    ``votes`` are the sums, by label, of each frame's probabilities weighted by its confidence.
    Times are seconds from the start of the video.
    """

    number: int
    first: float
    last: float
    seen: Prediction
    frames: int = 0
    votes: dict[str, float] = field(default_factory=dict)

    def add(self, prediction: Prediction, time: float) -> None:
        """Count one frame's answer."""
        self.seen, self.last = prediction, time
        self.frames += 1
        for label, probability in prediction.probability.items():
            self.votes[label] = self.votes.get(label, 0.0) + prediction.confidence * probability

    def answer(self, threshold: float) -> Prediction:
        """Return the answer all frames give together, at the place where the face was last."""
        shares = np.array(list(self.votes.values()), np.float32)
        return answer(self.seen.face, shares / shares.sum(), list(self.votes), threshold)

    def to_dict(self, threshold: float) -> dict[str, Any]:
        answered = self.answer(threshold)
        return {
            "track": self.number,
            "first_seconds": round(self.first, 3),
            "last_seconds": round(self.last, 3),
            "frames": self.frames,
            "perceived_gender": answered.perceived_gender,
            "confidence": answered.confidence,
            "probability": dict(answered.probability),
        }


class Tracker:
    """Tells which face of a frame is which of the frames before, by how much their boxes overlap.

    The pairs that overlap most are matched first (greedily, as in Bochinski et al. 2017, "High-speed
    tracking-by-detection without using image information"); a face left over begins a track.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._open: list[Track] = []
        self._looked = 0.0

    def follow(self, predictions: Sequence[Prediction], time: float) -> list[Track]:
        """Return the track of each of a frame's answers; ``time`` is in seconds and never falls."""
        longest_ago = min(self._looked, time - PATIENCE)
        self._open, self._looked = [track for track in self._open if track.last >= longest_ago], time
        pairs = sorted(
            (
                (iou(track.seen.face.box, prediction.face.box), -t, -p)
                for t, track in enumerate(self._open)
                for p, prediction in enumerate(predictions)
            ),
            reverse=True,
        )
        found: dict[int, Track] = {}
        taken: set[int] = set()
        for shared, t, p in pairs:
            if shared >= SAME_FACE and -t not in taken and -p not in found:
                taken.add(-t)
                found[-p] = self._open[-t]
        tracks = [found.get(p) or self._begin(prediction, time) for p, prediction in enumerate(predictions)]
        for track, prediction in zip(tracks, predictions, strict=True):
            track.add(prediction, time)
        return tracks

    def _begin(self, prediction: Prediction, time: float) -> Track:
        track = Track(number=len(self.tracks) + 1, first=time, last=time, seen=prediction)
        self.tracks.append(track)
        self._open.append(track)
        return track


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    shared = one.shared(other)
    union = one.width * one.height + other.width * other.height - shared
    return shared / union if union > 0 else 0.0
