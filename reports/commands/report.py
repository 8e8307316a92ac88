"""`sbench report RESULT…`: one run, several, several machines; and `html`, the form sbench run calls."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one


def _report(arguments: argparse.Namespace) -> Any:
    from .. import run_set, use_cases
    from ..report_content import Report

    chosen = use_cases.load(Path(arguments.use_cases)) if arguments.use_cases else use_cases.load()
    return Report(run_set.load(arguments.result), chosen, arguments.history)


def _default_page(results: list[str]) -> Path:
    """report.html beside a single result; in the current folder for several."""
    if len(results) > 1:
        return Path("report.html")
    only = Path(results[0])
    return (only if only.is_dir() else only.parent) / "report.html"


def _text(arguments: argparse.Namespace) -> str:
    """Everything but HTML and pictures."""
    report = _report(arguments)
    if arguments.format == "csv":
        from .. import csv_rows

        return csv_rows.render(report.run_set)
    if arguments.format == "markdown":
        from .. import markdown

        return markdown.render_report(report)
    if len(report.run_set.members) > 1:
        raise errors.UsageError(f"--format {arguments.format} shows one result; html, markdown and csv take several")
    if arguments.format == "json":
        from .. import summary

        return summary.render(report.comparison, report.verdicts)
    from .. import table

    color = table.wants_color("auto", bool(os.environ.get("SBENCH_TERMINAL")))
    return table.render(report.comparison, int(os.environ.get("COLUMNS") or 80), color, arguments.cases)


def _run(arguments: argparse.Namespace) -> int:
    from .. import html_report

    if arguments.figure:
        if not arguments.output or Path(arguments.output).suffix not in (".svg", ".png"):
            raise errors.UsageError("--figure needs --output FILE.svg or FILE.png")
        html_report.write_figure(_report(arguments), arguments.figure, Path(arguments.output))
        return errors.OK
    if arguments.format != "html":
        words = _text(arguments)
        if arguments.output:
            html_report.replace(Path(arguments.output), words.encode("utf-8"))
        else:
            sys.stdout.write(words)
        return errors.OK
    output = Path(arguments.output) if arguments.output else _default_page(arguments.result)
    notice = html_report.write(_report(arguments), output, Path(arguments.figures) if arguments.figures else None)
    if notice:
        print(notice, file=sys.stderr)
    print(output)
    return errors.OK


def add(commands: Any) -> None:
    """report."""
    parser = add_one(commands, "report", "stored results as HTML with figures, Markdown, table, JSON or CSV", _run)
    parser.add_argument("result", nargs="+", metavar="RESULT", help="result.json of sbench run, or its folder; several runs or machines")
    parser.add_argument("--format", choices=("html", "markdown", "table", "json", "csv"), default="html")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: report.html beside the result; the other formats: stdout")
    parser.add_argument("--figures", metavar="DIR", help="also write every figure there, as SVG and PNG")
    parser.add_argument("--figure", metavar="NAME", help="write this figure alone to --output (.svg or .png)")
    parser.add_argument("--history", metavar="DB", help="add the trend over the nights of this history")
    parser.add_argument("--use-cases", metavar="FILE", help="use cases and their weights, in place of use_cases.ini")
    parser.add_argument("--cases", action="store_true", help="table: one row per case instead of per workload")
