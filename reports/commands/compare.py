"""`sbench compare A B`: is B slower, and by how much. Exit codes 0, 3 (slower), 4 (inconclusive)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .. import errors
from . import add_one

CODES = {"no regression": errors.OK, "slower": errors.SLOWER, "inconclusive": errors.INCONCLUSIVE}


def _share(word: str) -> float:
    """'2.5' or '2.5%' as 0.025."""
    value = float(word.rstrip("% ")) / 100
    if not 0 <= value < 1:
        raise ValueError(word)
    return value


def _compare(arguments: argparse.Namespace) -> int:
    from .. import ab, ab_text
    from ..errors import UsageError
    from ..result_file import load

    if len(arguments.result) > 2:
        raise UsageError("compare takes one result (with two --driver) or two")
    runs = [load(path) for path in arguments.result]
    paths = tuple((arguments.result * 2)[:2])
    result = ab.compare(runs[0], runs[-1], arguments.driver, arguments.workload, arguments.absolute, arguments.floor,
                        arguments.precision, paths)
    render = {"text": ab_text.text_form, "markdown": ab_text.markdown, "json": ab_text.as_json}[arguments.format]
    sys.stdout.write(render(result, paths))
    return CODES[result.verdict]


def add(commands: Any) -> None:
    """compare."""
    parser = add_one(commands, "compare", "is B slower than A: two results, or two drivers of one", _compare)
    parser.add_argument("result", nargs="+", metavar="RESULT", help="A and B; or one result and two --driver")
    parser.add_argument("--driver", action="append", default=[], metavar="NAME", help="only this driver; given twice: the first is A, the second B")
    parser.add_argument("--workload", action="append", default=[], metavar="NAME", help="only this family or workload, repeatable")
    parser.add_argument("--absolute", action="store_true", help="compare seconds, not ratios to native (same hardware only)")
    parser.add_argument("--floor", type=_share, default=0.025, metavar="PERCENT", help="smaller effects are no regression (default: 2.5)")
    parser.add_argument("--precision", type=_share, default=0.10, metavar="PERCENT",
                        help="'no difference' rules out one of this size (default: 10)")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
