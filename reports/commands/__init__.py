"""The commands of `python3 -m reports`, one module each.

A module offers `add(commands)`: it adds its parsers and sets the default `run` of each
to a function of the parsed arguments. `run` writes results to stdout, messages to
stderr, raises ReportError for what a user should read, and returns the exit code.
Modules import what they need inside `run`, so that a mistyped command answers at once.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

MODULES = ("show", "report", "compare", "history", "gate", "selftest", "choose")  # the order of --help


def add_all(commands: Any) -> None:
    """Adds every command; `commands` is what argparse's add_subparsers() returned."""
    for name in MODULES:
        importlib.import_module(f".{name}", __name__).add(commands)


def add_one(commands: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    """One parser whose help says `summary`."""
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser
