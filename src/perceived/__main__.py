"""The command ``perceived``, which is also ``python -m perceived``."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from perceived.errors import STOPPED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Of control-C, of those who run programs for others, and of a terminal that is closed."""


def main() -> None:
    """Run the command line; a signal ends it without a word and with nothing left behind, while it is imported, too."""
    received = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.default_int_handler(number, frame)

    for number in SIGNALS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, stop)
    try:
        from perceived import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(_code(received))
    except ImportError:  # which extensions in C make of an interrupt
        if not received:
            raise
        sys.exit(_code(received))
    except SystemExit as end:
        sys.exit(_code(received) if end.code == STOPPED else end.code)


def _code(received: list[int]) -> int:
    """Return the exit code that shells know for the signal that came last."""
    return 128 + (received or [signal.SIGINT])[-1]


if __name__ == "__main__":
    main()
