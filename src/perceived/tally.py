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
    """Pictures that earlier runs could not read, and that this one does not try."""

    def add(self, picture: Picture) -> None:
        self.pictures += 1
        self.faces += len(picture.faces)
        self.unreadable += picture.error is not None
        self.faceless += picture.error is None and not picture.faces

    def __str__(self) -> str:
        before = ""
        if self.parts_before or self.answered_before or self.unreadable_before:
            parts = f"{counted(self.parts_before, 'part')} finished" if self.parts_before else ""
            unread = f" ({self.unreadable_before:,} unreadable)" if self.unreadable_before else ""
            before = f", besides {parts or f'{self.answered_before:,} answered'} before{unread}"
        return (
            f"{counted(self.pictures, 'picture')}, {counted(self.faces, 'face')}"
            f" ({counted(self.faceless, 'picture')} without a face, {self.unreadable:,} unreadable){before}"
        )
