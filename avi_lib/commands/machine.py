"""The commands `avi models` and `avi doctor`: what is fetched, installed and chosen on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avi_lib.models import Model


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add these commands to the parser of `avi`."""
    _add_models(commands)
    _add_doctor(commands)


def _add_models(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="fetch and check the frozen models")
    models.add_argument(
        "names", nargs="*", metavar="NAME", help="models to fetch; those that set-up needs when left out"
    )
    models.add_argument("--all", action="store_true", help="fetch every model")
    models.add_argument("--check", action="store_true", help="compare every digest; fetch only what is damaged")
    models.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    models.set_defaults(command=_models)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser("doctor", help="say what is installed, found and chosen, and why")
    doctor.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    doctor.set_defaults(command=_doctor)


def _models(options: argparse.Namespace) -> int:
    from avi_lib.models import models_command

    def announce(model: Model) -> None:
        print(f"fetching {model.name} ({model.bytes / 1e6:.0f} MB)", file=sys.stderr)

    rows = models_command(options.names, options.all, options.check, announce=announce)
    if options.json:
        print(json.dumps({"models": rows}, ensure_ascii=False))
    else:
        for row in rows:
            print(f"{row['name']:20s} {row['state']:8s} {row['licence']:12s} {row['detail']}")
    return 1 if any(row["state"] == "failed" for row in rows) else 0


def _doctor(options: argparse.Namespace) -> int:
    from avi_lib.doctor import doctor

    checks = doctor()
    if options.json:
        print(json.dumps({"checks": [check.as_dict() for check in checks]}, ensure_ascii=False))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.name:22s} {check.detail}")
    return 0 if all(check.ok for check in checks) else 1
