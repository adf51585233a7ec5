"""The command ``perceived``, which is also ``python -m perceived``."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from perceived.errors import STOPPED


def main() -> None:
    """Run the command line; control-C ends it without a word, while it is still being imported, too."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        from perceived import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except ImportError:  # which extensions in C make of control-C
        if not stopped:
            raise
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
