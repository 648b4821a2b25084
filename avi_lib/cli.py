"""The `avi` command: its parser, exit codes and how it is stopped; `commands` holds what each does.

    avi talk my.wav --instruction "She is furious." -o angry.mp4
    avi export motion.npz motion.csv
    avi instruct my.wav
    avi track my.mp4 -o motion.csv
    avi evaluate motion.csv --speech my.wav
    avi models · avi doctor · avi run 00 · avi verify outputs/RUN

Exit 0 when done; 2 for a bad argument or input, with one line on stderr; 1 when something else stopped the work.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from avi_lib import __version__
from avi_lib.commands import machine, motion, talk, workbook
from avi_lib.errors import AviError


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"avi: {message}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a mistyped command line raises SystemExit with code 2."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return _stoppable(command, options)
    except AviError as error:
        print(f"avi: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("avi: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; nothing is left to flush
        return 141
    except OSError as error:
        print(f"avi: {error.strerror or error}: {error.filename or 'standard output'}", file=sys.stderr)
        return 2


def _stoppable(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command so that SIGTERM ends it as Ctrl-C does: files in the making are removed."""
    if threading.current_thread() is not threading.main_thread():
        return command(options)

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="avi", description="Speech to instruction to expressive 3D talking face.")
    parser.add_argument("--version", action="version", version=f"avi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (talk, motion, workbook, machine):
        module.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
