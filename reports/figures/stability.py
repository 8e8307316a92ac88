"""Whether a run had settled: every block's time against the row's median, and SNIA's steady-state window.

A block is a round (METHOD b.2): fixed work has no slices. SNIA's rule over five
consecutive rounds: max - min at most 20 % of their mean, and the least-squares line
moves at most 10 % of it. The first window that passes is shaded.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .. import text
from ..comparison import Comparison, usable
from ..result_file import CaseId
from . import Figure, canvas

WINDOW = 5
EXCURSION_MAX = 0.20
SLOPE_MAX = 0.10
AMBER = "#b45309"
_COLUMNS = 4


def steady_window(values: np.ndarray) -> int | None:
    """Index of the first of five consecutive rounds that pass; None when no five do."""
    rounds = np.arange(WINDOW)
    for start in range(len(values) - WINDOW + 1):
        y = values[start : start + WINDOW]
        mean = float(np.mean(y))
        slope = float(np.polyfit(rounds, y, 1)[0])
        if np.max(y) - np.min(y) <= EXCURSION_MAX * mean and abs(slope) * (WINDOW - 1) <= SLOPE_MAX * mean:
            return start
    return None


def rounds_of(comparison: Comparison, driver: str, cases: tuple[CaseId, ...]) -> tuple[list[int], np.ndarray] | None:
    """(blocks, geometric mean of seconds over the cases in each, over its median); None with fewer than five blocks."""
    cells = [samples for case in cases if (samples := usable(comparison.run.blocks(case, driver)))]
    blocks = sorted(set.intersection(*(set(cell) for cell in cells))) if cells else []
    if len(blocks) < WINDOW:
        return None
    means = np.array([math.exp(sum(math.log(cell[b].seconds) for cell in cells) / len(cells)) for b in blocks])
    return blocks, means / float(np.median(means))


def _draw(comparison: Comparison, found: dict[str, dict[str, tuple[list[int], np.ndarray]]], limit: float) -> Any:
    rows = -(-len(found) // _COLUMNS)
    figure, axes = canvas.new(canvas.WIDTH_IN, 0.5 + 1.85 * rows, rows, min(_COLUMNS, len(found)), sharex=True, sharey=True)
    flat = [ax for line in axes for ax in line]
    for ax in flat[len(found):]:
        ax.set_visible(False)
    for ax, (driver, by_row) in zip(flat, found.items()):
        steady = 0
        for blocks, values in by_row.values():
            window = steady_window(values)
            steady += window is not None
            ax.plot(blocks, np.clip(values, 1 / limit, limit), color=canvas.INK if window is not None else AMBER,
                    lw=0.9 if window is not None else 1.6, alpha=0.45 if window is not None else 1)
        windows = [steady_window(values) for _, values in by_row.values()]
        passed = [w for w in windows if w is not None]
        if passed:
            first = int(np.median(passed))
            ax.axvspan(first, first + WINDOW - 1, color=canvas.GRID, alpha=0.5, lw=0)
        ax.set_title(f"{comparison.run.display(driver)}\n{steady} of {len(by_row)} steady", fontsize=8, color=AMBER if steady < len(by_row) else canvas.INK)
        ax.set(yscale="log", ylim=(1 / limit, limit))
        ax.set_yticks([1 / limit, 1, limit], labels=[f"÷{text.trimmed(limit)}", "median", f"×{text.trimmed(limit)}"])
        ax.minorticks_off()
    figure.supxlabel("block", fontsize=9, color=canvas.INK)
    return figure


def settled(comparison: Comparison) -> tuple[int, int]:
    """(rows that reached a steady state, rows that have blocks enough to say)."""
    rounds = [r for d in comparison.run.shown for g in comparison.groups if (r := rounds_of(comparison, d, g.cases))]
    return sum(steady_window(values) is not None for _, values in rounds), len(rounds)


def build(comparison: Comparison) -> Figure | None:
    """None with fewer than five blocks."""
    found: dict[str, dict[str, tuple[list[int], np.ndarray]]] = {}
    for driver in comparison.run.shown:
        for group in comparison.groups:
            rounds = rounds_of(comparison, driver, group.cases)
            if rounds:
                found.setdefault(driver, {})[group.key] = rounds
    if not found:
        return None
    rows = []
    for driver, by_row in found.items():
        for key, (blocks, values) in by_row.items():
            window = steady_window(values)
            rows.append((comparison.run.display(driver), key, f"block {blocks[window]}" if window is not None else "not steady",
                         f"{text.ratio(float(np.min(values)))}–{text.ratio(float(np.max(values)))}"))
    widest = max(max(float(np.max(v)), 1 / float(np.min(v))) for by_row in found.values() for _, v in by_row.values())
    limit = next((each for each in (1.25, 2.0) if widest <= each), 4.0)
    unsteady = sum(row[2] == "not steady" for row in rows)
    return Figure(
        "stability", "Did the run settle",
        "One line per row of the heat map: the time of each block over the row's median. Flat is good. "
        f"Amber: in no five consecutive blocks do the times stay within 20 % of each other without a trend (SNIA's rule). {unsteady} of {len(rows)} are not steady.",
        f"{len(rows) - unsteady} of {len(rows)} reached a steady state", ("driver", "cases", "steady from", "block times over their median"),
        tuple(rows), partial(_draw, comparison, found, limit),
        legend=f"Grey band: the median of the first steady windows. Lines beyond ×{text.trimmed(limit)} are cut off.")
