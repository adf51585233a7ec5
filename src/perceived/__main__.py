"""``python -m perceived``: the same as the command ``perceived``."""

from __future__ import annotations

from perceived.cli import main

if __name__ == "__main__":
    main()
