"""`sbench selftest`: false alarms and detection power of the gate on this machine. Exit codes: 0 fit, 4 not fit by METHOD d.6."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one


def _nights(arguments: argparse.Namespace) -> tuple[list, list]:
    """(nights, decisions): of a history, or recorded now."""
    from ..gate import record
    from ..gate.replay import newest_stream
    from ..history import exchange
    from ..history.store import History
    from ..html_report import replace

    if arguments.history:
        path = Path(arguments.history)
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            runs, decisions = exchange.read(path)
        else:
            with History.open(arguments.history) as history:
                runs, decisions = history.nights(history.one_machine(None)), history.acks()
        stream = newest_stream([r for r in runs if not r.confirms])
        if not stream:
            raise errors.NothingToReport(f"{arguments.history} holds no night")
        like = stream[-1]
        injected = [r for r in runs if r.injected and (r.fingerprint, r.suite, r.kind) == (like.fingerprint, like.suite, like.kind)]
        return [*stream, *injected], decisions
    subset = record.SHORT if arguments.short else record.NIGHTLY
    nights = record.record(subset, arguments.sittings or (24 if arguments.short else 30), arguments.image_dir, arguments.inject)
    if arguments.record:
        replace(Path(arguments.record), exchange.pack(exchange.export_lines(nights, []), arguments.record.endswith(".gz")))
    return nights, []


def _selftest(arguments: argparse.Namespace) -> int:
    from ..gate import selftest, selftest_forms
    from ..html_report import replace

    if arguments.history and (arguments.sittings or arguments.short or arguments.inject or arguments.record):
        raise errors.UsageError("--history replays what is there; --sittings, --short, --inject and --record are for recording")
    nights, decisions = _nights(arguments)
    if sum(not n.injected for n in nights) < selftest.NIGHTS_MIN:
        raise errors.NothingToReport(f"{len(nights)} nights are too few: a baseline takes {selftest.NIGHTS_MIN - 2}, and at least 2 must follow")
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
    parser.add_argument("--image-dir", default="/var/tmp", metavar="DIR")
    parser.add_argument("--record", metavar="FILE")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N")
    parser.add_argument("-o", "--output", metavar="FILE")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
