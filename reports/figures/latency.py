"""Latency percentiles: x is 1/(1-q) on a logarithmic axis, a curve per driver, a panel per operation.

Histograms of all blocks are merged; percentiles are never averaged. A curve ends where
fewer than ten values lie beyond it (METHOD b.3). Ribbons resample blocks, so they show
how much the blocks differ, and need six of them. Closed-loop figures are service times:
the wait of requests that a stall would have delayed is not in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import text
from ..comparison import Comparison
from ..histogram import Histogram
from ..result_file import CaseId
from ..statistics import INFERENCE_BLOCKS_MIN
from . import Figure, canvas, series

COUNT_MIN = 100  # fewer values reach p90 at best: no curve
PANELS_MAX = 6
_POINTS = 40
_RESAMPLES = 200
_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Curve:
    """Seconds at each quantile; `low` and `high` are None below six blocks."""

    q: tuple[float, ...]
    seconds: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    count: int


def quantiles(count: int) -> list[float]:
    """From the median to the last percentile that `count` values support, evenly spaced in log 1/(1-q)."""
    last = 1 - 10 / count
    return [1 - 1 / x for x in np.geomspace(2, 1 / (1 - last), _POINTS)] if last > 0.5 else []


def _ribbon(blocks: list[Histogram], q: list[float], seed_text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """2.5 and 97.5 % of the percentiles over resampled blocks."""
    edges = sorted({index for block in blocks for index in block.counts})
    table = np.array([[block.counts.get(index, 0) for index in edges] for block in blocks], float)
    middles = np.array([Histogram.middle(index) for index in edges]) * 1e-9
    seed = int.from_bytes(hashlib.sha256(seed_text.encode()).digest()[:8], "big")
    picks = np.random.default_rng(seed).integers(0, len(blocks), (_RESAMPLES, len(blocks)))
    sums = np.cumsum(np.array([table[row].sum(axis=0) for row in picks]), axis=1)
    ranks = np.array(q)[None, :] * sums[:, -1:]
    values = np.array([middles[np.minimum(np.searchsorted(row, rank, side="left"), len(edges) - 1)] for row, rank in zip(sums, ranks)])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return tuple(low), tuple(high)


def curve(comparison: Comparison, case: CaseId, operation: str, driver: str) -> Curve | None:
    """The curve of one driver; None with fewer than COUNT_MIN values."""
    stored = [s.latency[operation] for s in comparison.run.blocks(case, driver).values() if operation in s.latency]
    merged = Histogram.merged(stored)
    if merged.count < COUNT_MIN:
        return None
    q = quantiles(merged.count)
    values = [merged.percentile(each) for each in q]
    low = high = None
    if len(stored) >= INFERENCE_BLOCKS_MIN:
        low, high = _ribbon([Histogram.merged([each]) for each in stored], q, f"{comparison.run.body['run_id']}/{case.key}/{operation}/{driver}")
    return Curve(tuple(q), tuple(v * 1e-9 for v in values), low, high, merged.count)


def operations(comparison: Comparison) -> list[tuple[CaseId, str, str]]:
    """(case, operation, load and kind) worth a panel: those with most values, one case per workload and operation."""
    found: dict[tuple[str, str], tuple[int, CaseId, str]] = {}
    for case in comparison.cases:
        counts: dict[str, int] = {}
        kinds: dict[str, str] = {}
        for driver in comparison.run.shown:
            own: dict[str, int] = {}
            for sample in comparison.run.blocks(case, driver).values():
                for name, stored in sample.latency.items():
                    own[name] = own.get(name, 0) + stored["count"]
                    kinds[name] = f"load: {stored['load']}, {stored['kind']} time"
            for name, count in own.items():
                counts[name] = max(counts.get(name, 0), count)
        for name, count in counts.items():
            key = (case.workload, name)
            if count >= COUNT_MIN and (key not in found or count > found[key][0]):
                found[key] = (count, case, kinds[name])
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:PANELS_MAX]
    return [(case, name, kind) for (_, name), (_, case, kind) in sorted(ranked)]


def _draw(comparison: Comparison, panels: list[tuple[CaseId, str, str]], curves: dict[tuple[int, str], Curve]) -> Any:
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = canvas.new(canvas.WIDTH_IN, 0.6 + 3.1 * rows, rows, columns)
    flat = [ax for line in axes for ax in line]
    looks = canvas.styles(comparison.run)
    for ax in flat[len(panels):]:
        ax.set_visible(False)
    for index, (ax, (case, operation, kind)) in enumerate(zip(flat, panels)):
        ends = []
        for driver in comparison.run.shown:
            found = curves.get((index, driver))
            if not found:
                continue
            x = [1 / (1 - q) for q in found.q]
            style = looks[driver]
            ax.plot(x, found.seconds, color=style.light, ls=style.line, lw=1.5)
            if found.low:
                ax.fill_between(x, found.low, found.high, color=style.light, alpha=0.15, lw=0)
            ends.append((x[-1], found.seconds[-1], comparison.run.display(driver), style.light))
        ax.set(xscale="log", yscale="log")
        ax.set_title(f"{operation}, {case.workload}\n({kind})", fontsize=8.5)
        last = max(x for x, *_ in ends)
        ax.set_xlim(2, last)
        ax.set_xticks([1 / (1 - q) for q in _TICKS if 1 / (1 - q) <= last * 1.001], labels=[f"{100 * q:g} %" for q in _TICKS if 1 / (1 - q) <= last * 1.001])
        ax.minorticks_off()
        series.time_ticks(ax.yaxis)
        canvas.label_ends(ax, ends, gap_pt=8.5)
    figure.supxlabel("share of operations that were at least as fast", fontsize=9, color=canvas.INK)
    figure.supylabel("time of one operation (lower is better)", fontsize=9, color=canvas.INK)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without an operation of which some driver did at least COUNT_MIN."""
    panels = operations(comparison)
    curves = {(i, d): found for i, (case, operation, _) in enumerate(panels) for d in comparison.run.shown
              if (found := curve(comparison, case, operation, d))}
    if not curves:
        return None
    rows = []
    for (index, driver), found in curves.items():
        case, operation, _ = panels[index]
        merged = Histogram.merged(s.latency[operation] for s in comparison.run.blocks(case, driver).values() if operation in s.latency)
        cells = [text.human_time(value * 1e-9) if (value := merged.percentile(q)) is not None else "–" for q in _TICKS]
        rows.append((f"{operation}, {case.key}", comparison.run.display(driver), text.human_count(found.count), *cells))
    ribbon = any(found.low for found in curves.values())
    return Figure(
        "latency-percentiles", "How slow the slowest operations are",
        "Latency percentiles of single operations, histograms of all blocks merged. A curve ends where fewer than ten operations lie beyond it. "
        "Lower is better. Times of different engine classes do not compare.",
        "Medians: " + "; ".join(f"{row[0]} {row[1]} {row[3]}" for row in rows[:12]),
        ("operation", "driver", "operations", *(f"{100 * q:g} %" for q in _TICKS)), tuple(rows), partial(_draw, comparison, panels, curves),
        legend="Both axes are logarithmic." + (" Ribbons: 95 % over resampled blocks." if ribbon else ""))
