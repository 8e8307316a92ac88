"""`sbench history`: import, export, list, trend."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one


def _import(arguments: argparse.Namespace) -> int:
    from ..history import exchange
    from ..history.store import History

    with History.open(arguments.history, create=True) as history:
        counts = exchange.add_files(history, arguments.result)
        print(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to add")
        print(f"in {history.name}", file=sys.stderr)
    return errors.OK


def _export(arguments: argparse.Namespace) -> int:
    from ..history import exchange
    from ..history.store import History
    from ..html_report import replace

    with History.open(arguments.history) as history:
        machine = history.one_machine(arguments.machine) if arguments.machine else None
        runs = history.runs(machine)
        prints = {run.fingerprint for run in runs}
        lines = exchange.export_lines(runs, [d for d in history.acks() if machine is None or d.fingerprint in prints])
    if arguments.output:
        replace(Path(arguments.output), exchange.pack(lines, arguments.output.endswith(".gz")))
        print(f"{len(runs)} runs in {arguments.output}", file=sys.stderr)
    else:
        sys.stdout.write(exchange.pack(lines, False).decode("utf-8"))
    return errors.OK


def _write(columns: tuple[str, ...], rows: list[tuple[str, ...]], documents: list[dict[str, Any]], form: str) -> int:
    from .. import markdown, text

    if form == "json":
        print(json.dumps(documents, indent=1))
    elif form == "markdown":
        print(markdown.grid(columns, rows, numbers=False))
    else:
        print(text.columns(columns, rows))
    return errors.OK


def _list(arguments: argparse.Namespace) -> int:
    from ..history.store import History
    from ..history.listing import environments

    with History.open(arguments.history) as history:
        if arguments.machine:
            history.one_machine(arguments.machine)
        found = environments(history.runs(arguments.machine))
    if not found:
        raise errors.NothingToReport(f"the history {history.name} holds no run; add one with sbench history import")
    rows = [(e["environment"], e["machine"], e["hardware"], e["kind"], str(e["nights"]), str(e["reruns"]), str(e["injected"]), e["first"][:16].replace("T", " "),
             e["last"][:16].replace("T", " "), ", ".join(e["drivers"])) for e in found]
    return _write(("environment", "machine", "hardware", "kind", "nights", "reruns", "injected", "first", "last", "drivers"), rows, found, arguments.format)


def _trend(arguments: argparse.Namespace) -> int:
    import fnmatch

    from .. import text
    from ..gate.replay import newest_stream, replay
    from ..history import trend
    from ..history.store import History

    with History.open(arguments.history) as history:
        machine = history.one_machine(arguments.machine)
        nights = newest_stream(history.nights(machine))
        found = trend.trends(replay(nights, history.acks())) if nights else []
    chosen = [t for t in found if not arguments.series or any(fnmatch.fnmatchcase(t.series, pattern) for pattern in arguments.series)]
    if not chosen:
        raise errors.NothingToReport("no series matches" if found else f"no night of machine {machine} has a driver beside its control")
    if arguments.output:
        from ..figures import canvas
        from ..html_report import replace

        if Path(arguments.output).suffix not in (".svg", ".png"):
            raise errors.UsageError("--output FILE must end in .svg or .png")
        if not canvas.available():
            raise errors.ReportError("cannot draw figures: python3-matplotlib is missing; install it")
        picture = trend.draw(chosen, nights[-1].control)
        picture.supxlabel(trend.LEGEND, fontsize=8)
        canvas.settle(picture, f"{', '.join(dict.fromkeys(t.engine for t in chosen))} engines, {nights[-1].facts['device']['kind']} device, {len(nights)} nights")
        replace(Path(arguments.output), canvas.png_file(picture) if arguments.output.endswith(".png") else canvas.svg_file(picture).encode("utf-8"))
    documents = [trend.row(t) for t in chosen]
    rows = [(d["series"], d["engine"], d["status"], d["level"], "–" if d["detectable"] is None else text.percent(d["detectable"]), str(d["nights"]),
             "; ".join(f"{c['night'][:10]}: {c['from']} → {c['to']}" for c in d["changes"]) or "–") for d in documents]
    return _write(("series", "engine", "state", "level", "detects", "nights", "changes"), rows, documents, arguments.format)


def add(commands: Any) -> None:
    """history and its four actions."""
    history = commands.add_parser("history", help="runs kept over time", description="Runs kept over time, in SQLite or PostgreSQL.")
    actions = history.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary, run in (("import", "adds results; known ones are left as they are", _import), ("export", "all runs and acknowledgements as JSON lines", _export),
                               ("list", "what is kept", _list), ("trend", "level, change points, smallest detectable effect", _trend)):
        parser = add_one(actions, name, summary, run)
        parser.add_argument("--history", metavar="DB", help="file, or postgresql://USER@HOST/NAME")
        if name == "import":
            parser.add_argument("result", nargs="+", metavar="RESULT")
        else:
            parser.add_argument("--machine", metavar="ID")
        if name in ("list", "trend"):
            parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
        if name in ("export", "trend"):
            parser.add_argument("-o", "--output", metavar="FILE")
        if name == "trend":
            parser.add_argument("--series", action="append", default=[], metavar="NAME")
