"""Into and out of a history: result files, and exports as JSON lines.

An export's first line names it, its last one counts its lines, so that a truncated file is noticed.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import result_file
from ..errors import ReportError
from ..text import plain
from . import night
from .night import Night
from .store import Decision, History

FORMAT = 1
_HEAD = "sbench_history"


def export_lines(runs: Sequence[Night], decisions: Sequence[Decision]) -> Iterator[str]:
    """The lines of an export."""
    yield json.dumps({_HEAD: FORMAT})
    for run in runs:
        yield json.dumps({"run": run.as_json()}, separators=(",", ":"), allow_nan=False)
    for decision in decisions:
        yield json.dumps({"decision": vars(decision)}, separators=(",", ":"))
    yield json.dumps({"end": len(runs) + len(decisions)})


def pack(lines: Iterator[str], compressed: bool) -> bytes:
    """The export's bytes; the same input gives the same bytes."""
    content = ("\n".join(lines) + "\n").encode("utf-8")
    return gzip.compress(content, mtime=0) if compressed else content


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ReportError(f"{path} is damaged or cut short (gzip); nothing of it was added") from None
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from None


def _record(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if isinstance(record, dict):
            return record
    except ValueError:
        pass
    raise ReportError(f"{path} is damaged in line {number}; nothing of it was added")


def read_export(path: Path, content: bytes) -> tuple[list[Night], list[Decision]]:
    """All of an export, or a ReportError."""
    lines = content.splitlines()
    head = _record(lines[0], 1, path)
    if not isinstance(head.get(_HEAD), int) or head[_HEAD] > FORMAT:
        raise ReportError(f"{path} has export version {plain(head.get(_HEAD))}, this sbench reads {FORMAT}; use the newer sbench that wrote it")
    runs: list[Night] = []
    decisions: list[Decision] = []
    for number, line in enumerate(lines[1:], 2):
        record = _record(line, number, path)
        try:
            if "run" in record:
                runs.append(night.from_json(record["run"]))
            elif "decision" in record:
                decisions.append(Decision(**record["decision"]))
            elif record.get("end") == len(runs) + len(decisions) and number == len(lines):
                return runs, decisions
            else:
                break
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ReportError(f"{path} is damaged in line {number}; nothing of it was added") from None
    raise ReportError(f"{path} is cut short: its last line is missing; nothing of it was added")


def read(path: Path) -> tuple[list[Night], list[Decision]]:
    """Runs and decisions of a result file (or its folder), or of an export; either may be compressed."""
    if path.is_dir():
        return [night.from_run(result_file.load(path))], []
    content = _content(path)
    if content.lstrip()[:40].startswith(b'{"' + _HEAD.encode()):
        return read_export(path, content)
    return [night.from_run(result_file.load(path))], []


def add_files(history: History, paths: Sequence[str | Path]) -> dict[str, int]:
    """Reads all files first, so that a bad one leaves the history as it was; then adds. Counts by outcome."""
    read_all = [read(Path(path)) for path in paths]
    counts = {"added": 0, "completed": 0, "known": 0}
    for runs, decisions in read_all:
        for run in runs:
            counts[history.add(run)] += 1
        for decision in decisions:
            history.decide(decision)
    return counts
