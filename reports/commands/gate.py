"""`sbench gate`: did it get slower last night. Exit codes of METHOD d.7: 0, 1, 2, 3 (regression), 4 (inconclusive), 5 (nothing ran)."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one


def _judged_nights(arguments: argparse.Namespace, history: Any) -> list:
    """The stream to judge, oldest first; its last night is the judged one."""
    from ..gate.replay import newest_stream, stream
    from ..history import exchange

    if not arguments.result:
        nights = newest_stream(history.nights(history.one_machine(arguments.machine)))
        if not nights:
            raise errors.NothingToReport(f"the history {history.name} holds no night; name a result")
        return nights
    runs = [run for path in arguments.result for run in exchange.read(Path(path))[0]]
    for run in runs:
        history.add(run)
    newest = max((r for r in runs if not r.confirms), key=lambda r: (r.date, r.run_id), default=None)
    if newest is None:
        raise errors.UsageError("these results are reruns only; name the night's result too")
    return _stream_of(newest, history, stream)


def _stream_of(newest: Any, history: Any, stream: Any) -> list:
    nights = [n for n in history.nights(newest.machine)]
    same = next(n for n in nights if n.run_id == newest.run_id)
    found = [n for n in stream(nights, same) if n.run_id != same.run_id]
    return [*found, same]


def _decide(arguments: argparse.Namespace, history: Any, nights: list) -> int:
    """--ack and --reset: writes decisions about series of the newest night."""
    from ..gate.replay import replay
    from ..history.store import Decision

    newest = nights[-1]
    replayed = replay(nights, history.acks())
    judged = replayed.nights[-1]
    known = [*judged.timed, *judged.exact]
    written = []
    for action, patterns in (("ack", arguments.ack), ("reset", arguments.reset)):
        for pattern in patterns:
            names = [n for n in (judged.regressed if action == "ack" else known) if fnmatch.fnmatchcase(n, pattern)]
            if not names:
                what = f"red: {', '.join(judged.regressed) or 'nothing is'}" if action == "ack" else f"known: {', '.join(known)}"
                raise errors.UsageError(f"no {'red ' if action == 'ack' else ''}series matches '{pattern}'; {what}")
            written += [Decision(newest.date, newest.fingerprint, name, action, newest.run_id, arguments.reason) for name in names]
            if action == "reset" and pattern == "*":
                written.append(Decision(newest.date, newest.fingerprint, "*", action, newest.run_id, arguments.reason))
    for decision in written:
        history.decide(decision)
        if decision.series != "*":
            print(f"{'accepted the new level of' if decision.action == 'ack' else 'starting over with'} {decision.series}")
    return errors.OK


def _write_files(arguments: argparse.Namespace, verdict: Any) -> None:
    from ..gate import forms
    from ..html_report import replace

    if arguments.junit:
        replace(Path(arguments.junit), forms.as_junit(verdict))
    if arguments.openmetrics:
        replace(Path(arguments.openmetrics), forms.as_openmetrics(verdict))
    if arguments.markdown:
        with open(arguments.markdown, "a", encoding="utf-8") as file:
            file.write(forms.as_markdown(verdict))


def _gate(arguments: argparse.Namespace) -> int:
    from ..gate import confirm, forms
    from ..gate.replay import replay, stream
    from ..gate.verdict import Verdict
    from ..history.store import History

    if bool(arguments.ack or arguments.reset) != bool(arguments.reason):
        raise errors.UsageError("--ack and --reset need --reason, and --reason needs one of them")
    if arguments.openmetrics and not arguments.openmetrics.endswith(".prom"):
        raise errors.UsageError("--openmetrics FILE must end in .prom, or the collector does not read it")
    with History.open(arguments.history, create=bool(arguments.result)) as history:
        nights = _judged_nights(arguments, history)
        if arguments.ack or arguments.reset:
            return _decide(arguments, history, nights)
        confirming = ""
        if arguments.confirm:
            again, confirming = confirm.rerun(nights, history.acks())
            if again:
                history.add(again)
                nights = _stream_of(nights[-1], history, stream)
        verdict = Verdict(replay(nights, history.acks()), arguments.strict, confirming)
    _write_files(arguments, verdict)
    sys.stdout.write({"text": forms.as_text, "markdown": forms.as_markdown, "json": forms.as_json}[arguments.format](verdict))
    return verdict.code


def add(commands: Any) -> None:
    """gate."""
    parser = add_one(commands, "gate", "was last night slower than the nights before", _gate)
    parser.add_argument("result", nargs="*", metavar="RESULT", help="the night's result, added to the history first; none: the newest night there")
    parser.add_argument("--history", metavar="DB", help="file, or postgresql://USER@HOST/NAME")
    parser.add_argument("--confirm", action="store_true", help="measure suspects again at once")
    parser.add_argument("--strict", action="store_true", help="a baseline that is too short is inconclusive")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument("--junit", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE", help="append Markdown there")
    parser.add_argument("--openmetrics", metavar="FILE", help="a textfile (.prom)")
    parser.add_argument("--machine", metavar="ID")
    parser.add_argument("--ack", action="append", default=[], metavar="SERIES")
    parser.add_argument("--reset", action="append", default=[], metavar="SERIES")
    parser.add_argument("--reason", default="", metavar="TEXT")
