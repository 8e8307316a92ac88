"""`sbench selftest`: false alarms and detection power of the gate on this machine. Exit codes: 0 fit, 4 not fit by METHOD d.6."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .. import errors, text
from . import add_one


def _stored(name: str) -> tuple[list, list]:
    """(nights with their reruns, decisions) of a history or an export: the newest stream, then what was injected into it."""
    from ..gate.replay import newest_stream
    from ..history import exchange, night
    from ..history.store import History

    path = Path(name)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        runs, decisions = exchange.read(path)
        runs = night.with_confirmations(runs)
    else:
        with History.open(name) as history:
            runs, decisions = history.nights(history.one_machine(None)), history.acks()
    stream = newest_stream(runs)
    if not stream:
        raise errors.NothingToReport(f"{name} holds no night")
    like = stream[-1]
    return [*stream, *(r for r in runs if r.injected and (r.fingerprint, r.suite, r.kind) == (like.fingerprint, like.suite, like.kind))], decisions


def _recorded(arguments: argparse.Namespace) -> list:
    """Sittings of this machine, taken now; --record FILE is continued where it exists, and is whole after each sitting."""
    from ..gate import record
    from ..history import exchange, night
    from ..html_report import replace

    subset = record.SHORT if arguments.short else record.NIGHTLY
    path = Path(arguments.record) if arguments.record else None
    nights = night.with_confirmations(exchange.read(path)[0]) if path and path.exists() else []
    if any(n.kind != record.KIND or n.facts["request"]["blocks"] != subset.blocks or n.facts["request"]["image_dir"] != arguments.image_dir for n in nights):
        raise errors.UsageError(f"{arguments.record} holds sittings of another kind; name another file, or remove it")

    def keep(found: list) -> None:
        if path:
            runs = [each for n in found for each in (n, *n.confirmations)]
            replace(path, exchange.pack(exchange.export_lines(runs, []), path.name.endswith(".gz")))

    budget_s = text.parse_duration(arguments.budget) if arguments.budget else subset.budget_s
    if not budget_s:
        raise errors.UsageError(f"--budget: '{arguments.budget}' is not a duration; write for example 12m or 1h30m")
    record.Recorder(nights, lambda inject: record.sitting(subset, arguments.image_dir, inject), keep, budget_s).record(
        arguments.sittings or (24 if arguments.short else 30), arguments.inject)
    return nights


def _selftest(arguments: argparse.Namespace) -> int:
    from ..gate import selftest, selftest_forms
    from ..html_report import replace

    if arguments.history and (arguments.sittings or arguments.short or arguments.inject or arguments.record or arguments.budget):
        raise errors.UsageError("--history replays what is there; --sittings, --short, --inject, --budget and --record are for recording")
    nights, decisions = _stored(arguments.history) if arguments.history else (_recorded(arguments), [])
    if sum(not n.injected for n in nights) < selftest.NIGHTS_MIN:
        raise errors.NothingToReport(f"{sum(not n.injected for n in nights)} nights are too few: a baseline takes {selftest.NIGHTS_MIN - 2}, and at least 2 must follow"
                                     + (f"; {arguments.record} keeps them, and the same command goes on from there" if arguments.record else ""))
    test = selftest.run(nights, decisions, arguments.bootstrap)
    if arguments.output:
        replace(Path(arguments.output), selftest_forms.as_json(test).encode("utf-8"))
    sys.stdout.write({"text": selftest_forms.as_text, "markdown": selftest_forms.as_markdown, "json": selftest_forms.as_json}[arguments.format](test))
    return errors.OK if test.fit else errors.INCONCLUSIVE


def add(commands: Any) -> None:
    """selftest."""
    parser = add_one(commands, "selftest", "false alarms and detection power of the gate on this machine", _selftest)
    parser.add_argument("--history", metavar="DB", help="nights to replay (a history, or an export .jsonl[.gz]); default: record sittings now")
    parser.add_argument("--sittings", type=int, default=0, metavar="N")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--inject", action="store_true")
    parser.add_argument("--budget", metavar="TIME")
    parser.add_argument("--image-dir", default="/var/tmp", metavar="DIR")
    parser.add_argument("--record", metavar="FILE")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N")
    parser.add_argument("-o", "--output", metavar="FILE")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
