"""Pictures that end the process which reads them, by a fault of a decoder or for want of memory.

Whatever is lost is begun again, so such a picture would be tried for ever. Each part's beginnings are
therefore counted, in the job's folder. A part that was lost several times is gone through with care:
each picture is noted before it is read and answered, and one that was noted when the process was
lost, twice, is given up.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator

from perceived.cluster.folder import Folder
from perceived.cluster.inputs import Named
from perceived.errors import ImageError

CAREFUL_AFTER = 2
"""Beginnings without care; nodes are lost for other reasons, too."""
GIVEN_UP_AFTER = 2
"""How often a process must be lost at a picture before it is the picture's fault."""


class Attempts:
    """What is known of the beginnings of one part; making it notes another one."""

    def __init__(self, folder: Folder, part: int) -> None:
        self._folder, self._file = folder, f"attempts/part-{part:08d}.json"
        known = json.loads(folder.read(self._file)) if folder.exists(self._file) else {}
        self._begun: int = known.get("begun", 0) + 1
        self._lost_at: dict[str, int] = known.get("lost_at", {})
        if (at := known.get("at")) is not None:
            self._lost_at[at] = self._lost_at.get(at, 0) + 1
        self._write()

    @property
    def careful(self) -> bool:
        return self._begun > CAREFUL_AFTER

    @property
    def given_up(self) -> frozenset[int]:
        """The numbers of pictures that have ended too many processes."""
        return frozenset(int(at) for at, losses in self._lost_at.items() if losses >= GIVEN_UP_AFTER)

    def one_by_one(self, pictures: Iterable[Named]) -> Iterator[Named]:
        """Yield pictures, each noted before it is asked for, and an error in place of one that is given up."""
        rest = iter(pictures)
        for number in itertools.count():
            self._write(str(number))
            if (found := next(rest, None)) is None:
                break
            name, picture = found
            if number in self.given_up:
                losses = self._lost_at[str(number)]
                what = f"{name} ended the process that read it {losses} times."
                yield name, ImageError(what, mend="look at it with 'perceived predict', on a machine with more memory")
            else:
                yield name, picture
        self._write()

    def end(self) -> None:
        """Forget the part, which is finished."""
        self._folder.remove(self._file)

    def _write(self, at: str | None = None) -> None:
        record = {"begun": self._begun, "at": at, "lost_at": self._lost_at}
        self._folder.write(self._file, json.dumps(record).encode())
