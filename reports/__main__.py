"""`python3 -m reports COMMAND RESULT.json`: results on stdout, messages on stderr.

Exit codes: 0 ok, 1 error, 2 usage, 5 nothing to report.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import errors
from .errors import ReportError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reports", description="Reports of stored sbench results.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.add_argument("result", metavar="RESULT.json", help="a result file of sbench run")
        return sub

    table = command("table", "comparison table for a terminal")
    table.add_argument("--width", type=int, default=80, metavar="N", help="columns (default: 80)")
    table.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    table.add_argument("--cases", action="store_true", help="one row per case instead of per workload")
    command("markdown", "comparison table as Markdown")
    command("json", "summary per case and driver, and verdicts, as JSON")
    command("report-markdown", "the whole report as Markdown")
    command("validate", "checks a file against reports/result.schema.json")
    html = command("html", "self-contained HTML report, with figures")
    html.add_argument("-o", "--output", default="report.html", metavar="FILE", help="default: report.html")
    html.add_argument("--figures", metavar="DIR", help="also write every figure there, as SVG and PNG")
    return parser


def _run(arguments: argparse.Namespace) -> str:
    """Carries a command out; returns what goes to stdout."""
    from . import result_file

    if arguments.command == "validate":
        run = result_file.load(arguments.result, allow_empty=True)
        samples = sum(len(blocks) for blocks in run.samples.values())
        return f"{arguments.result}: valid, schema {run.body['schema_version']}, {samples} samples\n"
    from .comparison import Comparison

    comparison = Comparison(result_file.load(arguments.result))
    if arguments.command == "table":
        from . import table

        return table.render(comparison, arguments.width, table.wants_color(arguments.color, sys.stdout.isatty()), arguments.cases)
    if arguments.command == "json":
        from . import summary

        return summary.render(comparison)
    if arguments.command in ("markdown", "report-markdown"):
        from . import markdown

        return (markdown.render_table if arguments.command == "markdown" else markdown.render_report)(comparison)
    from . import html_report

    notice = html_report.write(comparison, Path(arguments.output), Path(arguments.figures) if arguments.figures else None)
    if notice:
        print(notice, file=sys.stderr)
    return ""


def main(argv: list[str] | None = None) -> int:
    """Exit code of the command; argparse exits with 2 on usage errors."""
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        output = _run(arguments)
        sys.stdout.write(output)
        sys.stdout.flush()
    except ReportError as error:
        print(f"sbench: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK
    except OSError as error:
        print(f"sbench: cannot write the report: {error}", file=sys.stderr)
        return errors.ERROR
    return errors.OK


if __name__ == "__main__":
    sys.exit(main())
