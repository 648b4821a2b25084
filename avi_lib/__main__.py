"""The command line from its very first moment: `avi`, and `python -m avi_lib`."""

import os
import signal
import sys


def main() -> int:
    """Run the command and return its exit code; who stops it before it has begun, or at its end, ends it at once."""

    def leave(*_: object) -> None:
        os.write(2, b"avi: stopped\n")
        os._exit(130)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    from avi_lib.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
