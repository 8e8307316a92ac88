"""What this machine can tell apart: the control against itself, where its spread comes from, and the smallest visible effect.

A/A: every block of the control against the next block of itself; both are the same
driver, so all that shows is noise. Spread is split into operations of one sample,
blocks of one run and runs. The smallest effect is METHOD d.5's against a baseline of 20
runs, as far as the spread between blocks goes; what nights add only a history can tell.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .. import statistics, text
from ..comparison import Comparison, usable
from ..histogram import Histogram
from ..run_set import RunSet
from . import Figure, canvas

_BASELINE_RUNS = 20
# (z(0.995) + z(0.8)) · sqrt(1 + 1/20 runs), for a run's median of n blocks, whose error is 1.2533 s/√n
DETECTABLE_FACTOR = 3.42 * math.sqrt(1 + 1 / _BASELINE_RUNS) * 1.2533
_BLOCKS_MIN = 3
QUARANTINE = 0.25  # a series whose smallest visible effect is larger is reported, not gated


def control_steps(comparison: Comparison) -> np.ndarray:
    """ln(control in a block / control in the block before), over all cases."""
    steps: list[float] = []
    for case in comparison.cases:
        samples = usable(comparison.run.blocks(case, comparison.run.control))
        logs = [math.log(samples[b].seconds) for b in sorted(samples)]
        steps += [after - before for before, after in zip(logs, logs[1:])]
    return np.array(steps)


def _operation_spread(comparison: Comparison) -> float | None:
    """Median over cases of the relative interquartile spread of single operations of the control, as a standard deviation."""
    found = []
    for case in comparison.cases:
        for name in sorted({n for s in comparison.run.blocks(case, comparison.run.control).values() for n in s.latency}):
            merged = Histogram.merged(s.latency[name] for s in comparison.run.blocks(case, comparison.run.control).values() if name in s.latency)
            low, high = merged.percentile(0.25), merged.percentile(0.75)
            if merged.count >= 40 and low and high:
                found.append(math.log(high / low) / 1.349)
    return float(np.median(found)) if found else None


def _block_spread(comparison: Comparison) -> float | None:
    """Median over cases of the standard deviation of ln(control) between blocks."""
    found = []
    for case in comparison.cases:
        values = [math.log(s.seconds) for s in usable(comparison.run.blocks(case, comparison.run.control)).values()]
        if len(values) >= _BLOCKS_MIN:
            found.append(float(np.std(values, ddof=1)))
    return float(np.median(found)) if found else None


def _run_spread(run_set: RunSet) -> float | None:
    """Median over cases of the spread of the control's run medians, less what the blocks explain; needs three runs of a machine."""
    members = max(run_set.machines.values(), key=len)
    if len(members) < 3:
        return None
    found = []
    for case in members[0].comparison.cases:
        medians, within = [], []
        for member in members:
            logs = [math.log(s.seconds) for s in usable(member.run.blocks(case, member.run.control)).values()]
            if len(logs) >= _BLOCKS_MIN:
                medians.append(float(np.median(logs)))
                within.append(float(np.var(logs, ddof=1)) / len(logs))
        if len(medians) >= 3:
            found.append(math.sqrt(max(float(np.var(medians, ddof=1)) - float(np.mean(within)), 0.0)))
    return float(np.median(found)) if found else None


def detectable(comparison: Comparison) -> list[tuple[str, str, float]]:
    """(row, driver, smallest effect visible in this run) of every row and driver, most sensitive first."""
    found = []
    for rankings in comparison.by_group.values():
        for key, ranking in rankings.items():
            for driver in ranking.standings:
                values = _paired_logs(comparison, ranking.common, driver)
                if len(values) >= _BLOCKS_MIN:
                    spread = 1.4826 * statistics.mad(values) or float(np.std(values, ddof=1))
                    found.append((key, driver, math.expm1(DETECTABLE_FACTOR * spread / math.sqrt(len(values)))))
    return sorted(found, key=lambda row: (row[2], row[0], row[1]))


def _paired_logs(comparison: Comparison, cases: tuple, driver: str) -> np.ndarray:
    run = comparison.run
    cells = [(usable(run.blocks(c, driver)), usable(run.blocks(c, run.control))) for c in cases]
    cells = [(own, control) for own, control in cells if own and control]
    shared = sorted(set.intersection(*(set(own) & set(control) for own, control in cells))) if cells else []
    return np.array([sum(math.log(own[b].seconds / control[b].seconds) for own, control in cells) / len(cells) for b in shared])


def _draw(steps: np.ndarray, spreads: list[tuple[str, float]], effects: list[tuple[str, str, float]]) -> Any:
    figure, axes = canvas.new(canvas.WIDTH_IN, 3.0, 1, 3)
    ax = axes[0][0]
    limit = max(0.1, float(np.percentile(np.abs(steps), 98)))
    ax.hist(np.clip(np.exp(steps), math.exp(-limit), math.exp(limit)), bins=np.exp(np.linspace(-limit, limit, 32)), color="#6b7280")
    ax.set(xscale="log", xlabel="a block of native over the one before", yticks=[], title="native against itself")
    marks = (math.exp(-limit / 2), 1.0, math.exp(limit / 2))
    ax.set_xticks(marks, labels=[text.ratio(m) for m in marks])
    ax.minorticks_off()
    ax = axes[0][1]
    ax.barh(range(len(spreads)), [100 * s for _, s in spreads], color="#6b7280", height=0.6)
    for y, (_, spread) in enumerate(spreads):
        ax.annotate(f"{100 * spread:.1f} %", (100 * spread, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(range(len(spreads)), labels=[name for name, _ in spreads])
    ax.set(ylim=(len(spreads) - 0.4, -0.6), xlim=(0, 130 * max(s for _, s in spreads) + 0.1), xticks=[], title="spread between")
    ax.grid(False)
    ax = axes[0][2]
    ax.plot(range(1, len(effects) + 1), [100 * e for _, _, e in effects], color="#6b7280", marker=".", ls="")
    ax.axhline(100 * QUARANTINE, color="#b45309", lw=1, ls=(0, (4, 2)))
    ax.set(yscale="log", xlabel="rows × drivers, sorted", title="smallest visible effect", xlim=(0.5, len(effects) + 0.5))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ticks = [t for t in (1, 3, 10, 30, 100, 300) if t <= 1.2 * max(100 * e for _, _, e in effects)] or [1]
    ax.set_yticks(ticks, labels=[f"{t} %" for t in ticks])
    ax.minorticks_off()
    return figure


def build(run_set: RunSet) -> Figure | None:
    """From the newest run, with the spread between runs where a machine has three; None without a control or blocks enough."""
    comparison = run_set.newest.comparison
    steps, effects = control_steps(comparison), detectable(comparison)
    parts = (("operations", _operation_spread(comparison)), ("blocks", _block_spread(comparison)), ("runs", _run_spread(run_set)))
    spreads = [(name, value) for name, value in parts if value is not None]
    if len(steps) < 4 or not spreads or not effects:
        return None
    middle = effects[len(effects) // 2][2]
    rows = [(key, comparison.run.display(driver), text.percent(effect) + ("" if effect <= QUARANTINE else ", too noisy to gate")) for key, driver, effect in effects]
    return Figure(
        "machine-quality", "What this machine can tell apart",
        "Left: the control against itself, which should be a narrow peak at 1. Middle: how far times lie apart at each level (standard deviation). "
        f"Right: for each row and driver the smallest change against native that a run like this would notice; half of them notice {text.percent(middle)}. Lower is better.",
        "Spread between " + ", ".join(f"{name} {text.percent(value)}" for name, value in spreads),
        ("cases", "driver", "smallest visible effect"), tuple(rows), partial(_draw, steps, spreads, effects),
        legend="Above the dashed line (25 %) a nightly gate would not judge a series.")
