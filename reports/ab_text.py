"""What `sbench compare` prints: text, Markdown, JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from . import ab, text
from .ab import Result, Row
from .markdown import details, grid
from .result_file import Run
from .summary import number
from .text import plain

_TIME_WORDS = ("slower", "faster", "no difference", "unstable")
_COUNT_WORDS = ("more", "less", "varies", "same")
_NOTABLE = ("slower", "faster", "more", "less")


def _about(run: Run, path: str) -> str:
    version = run.body["environment"]["version"]
    return (f"{path}: {str(run.context['date'])[:16].replace('T', ' ')}, {version.get('distribution', 'unknown system')}, "
            f"kernel {version.get('kernel_release', 'unknown')}, {run.body['blocks_done']} blocks")


def value_words(row: Row, value: float) -> str:
    """A median in its own unit."""
    if row.metric == "real_time":
        return f"{text.ratio(value)}×" if row.unit == "1" else text.human_time(value)
    return text.human_bytes(value) if row.unit == "B" else text.human_count(value)


def effect_words(row: Row) -> str:
    """'1.17 [1.10–1.25]' for times, '+2.1 %' for counts."""
    if row.ratio:
        interval = "" if row.ratio.kind == "none" else f" [{text.ratio(row.ratio.low)}–{text.ratio(row.ratio.high)}]"
        return text.ratio(row.ratio.value) + interval
    return f"{100 * (row.b / row.a - 1):+.1f} %" if row.a else "from 0"


def _method(result: Result) -> str:
    unit = "times relative to native in the same block" if result.relative else "seconds"
    blocks = "blocks paired" if result.paired else "independent blocks (Mann-Whitney)"
    return (f"{unit}, {blocks}; slower or faster: beyond {100 * result.floor:g} % and significant at 5 % after Benjamini-Hochberg; "
            f"no difference: one of {100 * result.precision:g} % is ruled out; unstable: it is not")


def _cells(row: Row) -> tuple[str, ...]:
    name = row.name if row.metric == "real_time" else f"{row.name} {row.metric}"
    return (row.driver, name, value_words(row, row.a), value_words(row, row.b), effect_words(row), row.verdict)


_COLUMNS = ("driver", "what", "A", "B", "B/A", "verdict")


def _notable(result: Result) -> list[Row]:
    """Single cases with a finding, worst first."""
    rows = [row for row in result.rows if row.level == "case" and row.verdict in _NOTABLE]

    def size(row: Row) -> float:
        return -abs(row.ratio.value - 1) if row.ratio else -abs(row.b / row.a - 1 if row.a else 1)

    return sorted(rows, key=lambda row: (_NOTABLE.index(row.verdict) % 2, row.metric != "real_time", size(row), row.name))


def _counts(result: Result) -> str:
    seen = Counter(row.verdict for row in result.rows if row.level == "case")
    times = ", ".join(f"{seen[word]} {word}" for word in _TIME_WORDS if seen[word])
    counts = ", ".join(f"{seen[word]} {word}" for word in _COUNT_WORDS if seen[word])
    return "; ".join(part for part in (f"times of single cases: {times}" if times else "", f"bytes and counts: {counts}" if counts else "") if part)


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) if i in (0, 1, 5) else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
            for row in rows]


def _sections(result: Result) -> list[tuple[str, list[Row]]]:
    return [("Workloads (geometric means over their cases)", result.timed("workload")), ("Single cases that changed", _notable(result))]


def text_lines(result: Result, paths: tuple[str, str]) -> list[str]:
    """The text form, line by line."""
    import textwrap

    width = max(int(os.environ.get("COLUMNS", "80") or 80), 60)
    lines = [f"A  {_about(result.a, paths[0])}", f"B  {_about(result.b, paths[1])}"]
    lines += textwrap.wrap(_method(result), width)
    for title, rows in _sections(result):
        if rows:
            lines += ["", title, *_align([_COLUMNS, *(_cells(row) for row in rows)])]
    if result.differences:
        lines += ["", "What differs between A and B"]
        lines += [f"  {d.tier} {d.name}: {' → '.join(d.values)}" for d in result.differences]
    if result.cautions:
        lines += ["", "Note"]
        for caution in result.cautions:
            lines += textwrap.wrap(caution, width, initial_indent="  ", subsequent_indent="    ")
    return [*lines, "", *textwrap.wrap(_counts(result), width), f"Verdict: {result.verdict}"]


def text_form(result: Result, paths: tuple[str, str]) -> str:
    """For a terminal."""
    return "\n".join(plain(line) for line in text_lines(result, paths)) + "\n"


def markdown(result: Result, paths: tuple[str, str]) -> str:
    """For a CI job summary: the verdict and what changed first, everything else folded."""
    parts = [f"## sbench compare: {result.verdict}", "", f"- A: {text.markdown(_about(result.a, paths[0]))}",
             f"- B: {text.markdown(_about(result.b, paths[1]))}", f"- {text.markdown(_counts(result))}", ""]
    for title, rows in reversed(_sections(result)):
        if rows:
            parts += [f"### {title}", "", grid(_COLUMNS, [_cells(row) for row in rows[:200]]), ""]
    parts += [f"- {text.markdown(caution)}" for caution in result.cautions] + ([""] if result.cautions else [])
    if result.differences:
        parts += details("What differs between A and B", grid(("tier", "what", "A", "B"), [(d.tier, d.name, *d.values) for d in result.differences],
                                                             numbers=False))
    parts += details("Method", text.markdown(_method(result)))
    return "\n".join(parts).rstrip() + "\n"


def _row_json(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"level": row.level, "name": row.name, "driver": row.driver, "metric": row.metric, "unit": row.unit,
                             "a": number(row.a), "b": number(row.b), "blocks_a": row.blocks[0], "blocks_b": row.blocks[1],
                             "verdict": row.verdict}
    if row.ratio:
        found["ratio"] = number(row.ratio.value)
        if row.ratio.kind != "none":
            found[row.ratio.kind] = [number(row.ratio.low), number(row.ratio.high)]
        if row.adjusted_p is not None:
            found["adjusted_p"] = number(row.adjusted_p)
    return found


def as_json(result: Result, paths: tuple[str, str]) -> str:
    """Every comparison."""
    document = {
        "schema": "sbench.compare", "schema_version": "1.0", "a": {"path": paths[0], "run_id": result.a.body["run_id"]},
        "b": {"path": paths[1], "run_id": result.b.body["run_id"]}, "paired": result.paired, "relative_to_control": result.relative,
        "floor": result.floor, "verdict": result.verdict, "cautions": result.cautions,
        "differences": [{"tier": d.tier, "name": d.name, "values": list(d.values)} for d in result.differences],
        "rows": [_row_json(row) for row in result.rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
