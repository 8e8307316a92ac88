"""The terminal's comparison table: a row a workload (or case), a column a driver, fit to a width.

Cells are ratios to the native control, with half the interval. When the drivers do
not fit side by side the table is stacked: same rows, next drivers.
"""

from __future__ import annotations

import os

from . import both_engines, facts, measure, text
from .comparison import Comparison, Ranking, Standing
from .text import plain

MARKS = {"best": "*", "tie": "=", "only": "", "slower": "", "none": ""}
_STYLES = {"*": "\x1b[1;32m", "=": "\x1b[32m", "~": "\x1b[33m", "dim": "\x1b[2m", "bold": "\x1b[1m"}
_END = "\x1b[0m"
_CELL_MIN = 11
_NAME_MIN = 28
_CONTROL_WIDTH = 8


def wants_color(mode: str, is_terminal: bool) -> bool:
    """--color, NO_COLOR, FORCE_COLOR and TERM, as clig.dev has them."""
    if mode != "auto":
        return mode == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


class Painter:
    """Colours whole cells after padding, so that widths stay true."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, words: str, style: str) -> str:
        return f"{_STYLES[style]}{words}{_END}" if self.enabled and style in _STYLES and words.strip() else words


def _half_width(fraction: float) -> str:
    percent = fraction * 100
    return "<1%" if percent < 0.95 else f"{percent:.0f}%" if percent < 99.5 else ">99"


def cell(standing: Standing, mark_width: int = 0) -> str:
    """'1.12±2%*'; '–' where there is no number; the absolute median where no control ran. Marks fill `mark_width`."""
    if standing.seconds is None:
        return "–" + " " * mark_width
    mark = MARKS[standing.verdict] + ("~" if standing.unstable else "")
    if standing.to_control is None:
        return f"{measure.shown(standing.measured, standing.seconds.value)}{mark:{mark_width or ''}}"
    e = standing.to_control
    width = "" if e.kind == "none" else f"±{_half_width(e.half_width)}"
    return f"{text.ratio(e.value)}{width}{mark:{mark_width or ''}}"


def wrap(label: str, width: int) -> list[str]:
    """A driver's label in lines of at most `width`: broken after ':' ',' '=' '-' '.', else anywhere."""
    pieces, piece = [], ""
    for char in plain(label):
        piece += char
        if char in ":,=-.":
            pieces.append(piece)
            piece = ""
    lines = [""]
    for piece in [*pieces, piece]:
        while len(lines[-1]) + len(piece) > width:
            if lines[-1]:
                lines.append("")
                continue
            lines[-1], piece = piece[:width], piece[width:]
            lines.append("")
        lines[-1] += piece
    return [line for line in lines if line]


def _shorten(label: str, width: int) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"


def _count(ranking: Ranking) -> str:
    return f" ({len(ranking.common)})" if len(ranking.cases) > 1 else ""


def _chunk(comparison: Comparison, rankings: dict[str, Ranking], drivers: list[str], name_width: int, cell_width: int,
           paint: Painter, control: bool) -> list[str]:
    """One stack: header and rows for some of the drivers."""
    heads = [wrap(comparison.run.label(d), cell_width - 1) for d in drivers]
    tall = max(len(h) for h in heads)
    lines = []
    for i in range(tall):
        words = "cases".ljust(name_width) if i == tall - 1 else " " * name_width
        if control:
            words += ("native" if i == tall - 1 else "").rjust(_CONTROL_WIDTH)
        for head in heads:
            offset = i - (tall - len(head))
            words += (head[offset] if offset >= 0 else "").rjust(cell_width)
        lines.append(paint(words.rstrip(), "bold"))
    for key, ranking in rankings.items():
        count = _count(ranking)
        words = _shorten(plain(key), name_width - len(count) - 1) + count
        words = words.ljust(name_width)
        if control:
            words += (measure.shown(measure.kind(comparison.run), ranking.control.value) if ranking.control else "–").rjust(_CONTROL_WIDTH)
        for driver in drivers:
            shown = cell(ranking.standings[driver], 2).rjust(cell_width)
            shown = shown.rstrip() if driver == drivers[-1] else shown
            style = next((m for m in "*=~" if m in shown), "dim" if "–" in shown else "")
            words += paint(shown, style)
        lines.append(words.rstrip())
    return lines


def _section(comparison: Comparison, engine: str, rankings: dict[str, Ranking], width: int, paint: Painter) -> list[str]:
    drivers = comparison.run.ranked_in(engine)
    control = engine == comparison.run.drivers[comparison.run.control].engine if comparison.run.control in comparison.run.drivers else False
    longest = max(len(key) + len(_count(r)) for key, r in rankings.items()) + 1
    fixed = _CONTROL_WIDTH if control else 0

    def fitting(names: int) -> int:
        return max(1, (width - names - fixed) // _CELL_MIN)

    widest = max(_NAME_MIN, min(longest, 48, width - fixed - _CELL_MIN))
    name_width = min(range(_NAME_MIN, widest + 1), key=lambda names: (-(-len(drivers) // fitting(names)), -names))
    per_stack, room = fitting(name_width), width - name_width - fixed
    stacks = -(-len(drivers) // per_stack)
    per_stack = -(-len(drivers) // stacks)
    cell_width = min(16, room // per_stack)
    lines = []
    for start in range(0, len(drivers), per_stack):
        if start:
            lines.append("")
        lines += _chunk(comparison, rankings, drivers[start : start + per_stack], name_width, cell_width, paint, control)
    return lines


def _fold(words: str, width: int, indent: str) -> list[str]:
    """Wraps a sentence at blanks."""
    import textwrap

    return textwrap.wrap(plain(words), width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _control_remark(comparison: Comparison) -> str:
    control = comparison.run.drivers.get(comparison.run.control)
    return " native copies the whole image when a layer is made, so builds and starts can be faster than native." if control and control.copies_at_prepare else ""


_FUSE_COST_WIDTH = 72  # of the table with all its columns


def render(comparison: Comparison, width: int = 80, color: bool = False, by_case: bool = False) -> str:
    """The whole table as text; no line is longer than `width` (at least 60) unless a single word is."""
    width = max(width, 60)
    paint = Painter(color)
    lines: list[str] = []
    for engine, rankings in (comparison.by_case if by_case else comparison.by_group).items():
        if lines:
            lines.append("")
        where = "" if engine == "kernel" else " (a class of its own)"
        if not rankings:
            continue
        lines += [paint(line, "bold") for line in _fold(f"{measure.noun(comparison.run)} relative to native, {engine} engines{where}; lower is better", width, "  ")]
        lines += _section(comparison, engine, rankings, width, paint)
    for title, rows in both_engines.tables(comparison, by_case):
        lines += ["", *(paint(line, "bold") for line in _fold(title, width, "  "))]
        lines += text.columns(both_engines.COLUMNS, rows).rstrip("\n").split("\n")
    interval = "half the 95 % interval" if comparison.inference else "half the range seen (no inference)"
    lines.append("")
    lines += _fold(f"* best  = tie with best  ~ unsteady  – no number   1.12±2%: ratio ± {interval}. "
                   "(n): geometric mean of n cases that all drivers finished." + _control_remark(comparison), width, "  ")
    body = comparison.run.body
    floor = comparison.noise_floor
    noise = "unknown" if floor is None else text.percent(floor)
    lines += _fold(f"{facts.blocks_words(comparison)}; seed {body['seed']}; noise floor {noise}; device {facts.device_words(body['device'])}; "
                   f"profile {body['profile']}", width, "  ")
    if cost := facts.fuse_cost(comparison):
        lines += ["", *(paint(line, "bold") for line in _fold(facts.FUSE_COST_TITLE, width, "  "))]
        shown = (0, 1, 2, 3) if width >= _FUSE_COST_WIDTH else (0, 2, 3)
        head, *rows = ([line[i] for i in shown] for line in (facts.FUSE_COST_COLUMNS, *cost))
        lines += text.columns(head, rows).split("\n")
    skips = facts.skipped(comparison)
    if skips:
        lines += ["", paint("Not run", "bold")]
        for name, reason, remedy in skips:
            lines += _fold(f"  {name}: {reason}" + (f"; {remedy}" if remedy else ""), width, "    ")
    warnings = facts.warnings(comparison)
    if warnings:
        lines += ["", paint("Warnings", "bold")]
        for warning in warnings:
            lines += _fold(f"  {warning.what} {warning.remedy}", width, "    ")
    return "\n".join(lines) + "\n"
