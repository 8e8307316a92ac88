"""What `sbench run` prints of one result: table, Markdown, JSON; and `validate`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import errors
from . import add_one


def _write(words: str) -> int:
    sys.stdout.write(words)
    return errors.OK


def _comparison(arguments: argparse.Namespace) -> Any:
    from ..comparison import Comparison
    from ..result_file import load

    return Comparison(load(arguments.result))


def _table(arguments: argparse.Namespace) -> int:
    from .. import table

    comparison = _comparison(arguments)
    return _write(table.render(comparison, arguments.width, table.wants_color(arguments.color, sys.stdout.isatty()), arguments.cases))


def _markdown(arguments: argparse.Namespace) -> int:
    from .. import markdown

    return _write(markdown.render_table(_comparison(arguments)))


def _json(arguments: argparse.Namespace) -> int:
    from .. import summary, use_cases

    comparison = _comparison(arguments)
    return _write(summary.render(comparison, use_cases.verdicts(comparison)))


def _validate(arguments: argparse.Namespace) -> int:
    from ..result_file import load

    for path in arguments.result:
        run = load(path, allow_empty=True)
        samples = sum(len(blocks) for blocks in run.samples.values())
        _write(f"{path}: valid, schema {run.body['schema_version']}, {samples} samples\n")
    return errors.OK


def add(commands: Any) -> None:
    """table, markdown, json, validate."""
    for name, summary, run in (("table", "comparison table for a terminal", _table), ("markdown", "comparison table as Markdown", _markdown),
                               ("json", "summary per case and driver, and verdicts, as JSON", _json)):
        parser = add_one(commands, name, summary, run)
        parser.add_argument("result", metavar="RESULT", help="result.json of sbench run, or its folder")
        if name == "table":
            parser.add_argument("--width", type=int, default=80, metavar="N", help="columns (default: 80)")
            parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
            parser.add_argument("--cases", action="store_true", help="one row per case instead of per workload")
    validate = add_one(commands, "validate", "checks files against reports/result.schema.json", _validate)
    validate.add_argument("result", nargs="+", metavar="RESULT", help="result.json of sbench run, or its folder")
