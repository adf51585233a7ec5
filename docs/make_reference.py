"""Write docs/reference/cli.md from the command line's own --help, or with --check say whether it is stale."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import typer

from perceived.cli import app

TARGET = Path(__file__).parent / "reference" / "cli.md"
HEAD = """\
# Command line

<!-- Written by `make docs` from --help; a test fails when it is stale. -->

Exit codes: 0, done; 1, something failed (for `predict`: a picture could not be read; for `audit`: a condition of
`--fail-if` holds); 2, the caller can mend it, and the message says how; 130, 143 or 129, stopped with control-C, by
SIGTERM or with its terminal. `serve` ends with 0 once all it has let in is answered, but in one process with 130 after
control-C.
"""


def render() -> str:
    """Return the page: the help of the program and of each of its commands."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parts = [HEAD, _section("perceived")]
    parts += [_section("perceived", name) for name in commands]
    return "\n".join(parts)


def _section(*words: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        command = typer.main.get_command(app)
        command.main([*words[1:], "--help"], prog_name=words[0], standalone_mode=False, terminal_width=80)
    text = "\n".join(line.rstrip() for line in output.getvalue().strip().splitlines())
    return f"## {' '.join(words)}\n\n```text\n{text}\n```\n"


def main() -> int:
    page = render()
    if "--check" in sys.argv[1:]:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != page)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
