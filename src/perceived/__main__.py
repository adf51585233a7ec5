"""The command ``perceived``, which is also ``python -m perceived``."""

from __future__ import annotations

import sys

from perceived.errors import STOPPED


def main() -> None:
    """Run the command line; control-C ends it without a word, while it is still being imported, too."""
    try:
        from perceived import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
