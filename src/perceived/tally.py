"""What became of pictures, counted."""

from __future__ import annotations

from dataclasses import dataclass

from perceived.types import Picture
from perceived.wording import counted


@dataclass(slots=True)
class Tally:
    """What became of the pictures so far."""

    pictures: int = 0
    faces: int = 0
    faceless: int = 0
    unreadable: int = 0
    answered_before: int = 0
    parts_before: int = 0
    """Parts of a cluster's job that earlier runs finished."""
    unreadable_before: int = 0
    """Pictures of those parts that could not be read."""

    def add(self, picture: Picture) -> None:
        self.pictures += 1
        self.faces += len(picture.faces)
        self.unreadable += picture.error is not None
        self.faceless += picture.error is None and not picture.faces

    def __str__(self) -> str:
        before = f", besides {self.answered_before:,} answered before" if self.answered_before else ""
        if self.parts_before:
            unread = f" ({self.unreadable_before:,} unreadable)" if self.unreadable_before else ""
            before += f", besides {counted(self.parts_before, 'part')} finished before{unread}"
        return (
            f"{counted(self.pictures, 'picture')}, {counted(self.faces, 'face')}"
            f" ({counted(self.faceless, 'picture')} without a face, {self.unreadable:,} unreadable){before}"
        )
