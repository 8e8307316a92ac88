"""`html`: the self-contained page of one result, with figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one


def _html(arguments: argparse.Namespace) -> int:
    from .. import html_report
    from ..comparison import Comparison
    from ..result_file import load

    figures = Path(arguments.figures) if arguments.figures else None
    notice = html_report.write(Comparison(load(arguments.result)), Path(arguments.output), figures)
    if notice:
        print(notice, file=sys.stderr)
    return errors.OK


def add(commands: Any) -> None:
    """html."""
    parser = add_one(commands, "html", "self-contained HTML report, with figures", _html)
    parser.add_argument("result", metavar="RESULT", help="result.json of sbench run, or its folder")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="default: report.html")
    parser.add_argument("--figures", metavar="DIR", help="also write every figure there, as SVG and PNG")
