"""Numbers that several figures read: values over blocks, slices of a workload, bars and lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import statistics
from ..comparison import Comparison, usable
from ..result_file import CaseId
from ..statistics import Estimate
from . import canvas

DEPTH_SHOWN = 8


def seconds(comparison: Comparison, case: CaseId, driver: str) -> Estimate | None:
    """Median seconds of a cell over blocks."""
    values = [s.seconds for s in usable(comparison.run.blocks(case, driver)).values()]
    return statistics.median_estimate(np.array(values)) if values else None


def metric(comparison: Comparison, case: CaseId, driver: str, name: str) -> Estimate | None:
    """Median of a metric of a cell over blocks."""
    values = [s.metrics[name] for s in comparison.run.blocks(case, driver).values() if name in s.metrics]
    return statistics.median_estimate(np.array(values, float)) if values else None


def amplification(comparison: Comparison, case: CaseId, driver: str) -> Estimate | None:
    """Median of bytes_dev_written / bytes_app_written over blocks (METHOD b.5)."""
    values = [s.metrics["bytes_dev_written"] / s.metrics["bytes_app_written"]
              for s in comparison.run.blocks(case, driver).values()
              if s.metrics.get("bytes_app_written") and "bytes_dev_written" in s.metrics]
    return statistics.median_estimate(np.array(values)) if values else None


def first_write_slice(comparison: Comparison) -> tuple[list[CaseId], str]:
    """Cases of copy_up.first_write at one depth and one written size, and those in words.

    The written size is the smallest; the depth is the one with most file sizes,
    and among those the one nearest to 8 layers.
    """
    cases = comparison.run.cases_of("copy_up.first_write")
    words = []
    touched = sorted({c.size("touched") or 0 for c in cases})
    if touched and touched[0] > 0:
        cases = [c for c in cases if c.size("touched") == touched[0]]
        words.append(f"{cases[0].param('touched').upper()} written")
    depths = sorted({c.size("depth") or 0 for c in cases})
    if depths and depths[0] > 0:
        sizes = {d: len({c.size("size") for c in cases if c.size("depth") == d}) for d in depths}
        depth = min(depths, key=lambda d: (-sizes[d], abs(math.log(d / DEPTH_SHOWN))))
        cases = [c for c in cases if c.size("depth") == depth]
        words.append(f"image of {depth:.0f} layer{'s' if depth != 1 else ''}")
    return cases, ", ".join(words)


def draw_line(axes: Any, comparison: Comparison, driver: str, points: list[tuple[float, Estimate]]) -> None:
    """One driver's medians with intervals, in its own style."""
    style = canvas.styles(comparison.run)[driver]
    x = [p[0] for p in points]
    y = [p[1].value for p in points]
    low = [max(p[1].value - p[1].low, 0) for p in points]
    high = [max(p[1].high - p[1].value, 0) for p in points]
    control = driver == comparison.run.control
    axes.errorbar(x, y, yerr=[low, high], color=style.light, marker=style.marker, ms=5.5, mew=1.2,
                  mfc="none" if style.hollow else style.light, ls=(0, (2, 2)) if control else style.line, lw=1.6,
                  capsize=0, elinewidth=3.5, ecolor=style.light + "40")


def draw_medians(comparison: Comparison, panels: dict[str, dict[str, dict[int, float]]], xlabel: str = "layers") -> Any:
    """A panel a title: driver → count → median seconds, both axes logarithmic."""
    figure, axes = canvas.new(canvas.WIDTH_IN, 4.2, 1, len(panels))
    for ax, (title, by_driver) in zip(axes[0], panels.items()):
        ax.set(xscale="log", yscale="log", xlabel=xlabel, title=title)
        counts = sorted({count for own in by_driver.values() for count in own})
        ends = []
        for driver, own in by_driver.items():
            points = [(count, Estimate(own[count], own[count], own[count], "none", 1)) for count in sorted(own)]
            draw_line(ax, comparison, driver, points)
            ends.append((points[-1][0], points[-1][1].value, comparison.run.display(driver), canvas.styles(comparison.run)[driver].light))
        ax.set_xticks(counts, labels=[str(count) for count in counts])
        ax.minorticks_off()
        time_ticks(ax.yaxis)
        if ax is axes[0][-1]:
            canvas.label_ends(ax, ends)
    axes[0][0].set_ylabel("median time (lower is better)")
    return figure


def log_bytes_axis(axis: Any, values: list[float]) -> None:
    """Ticks at the given sizes."""
    from ..text import human_bytes

    axis.set_ticks(sorted(set(values)), labels=[human_bytes(v) for v in sorted(set(values))])
    axis.set_ticks([], minor=True)


def time_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis of seconds as µs, ms, s."""
    from ..text import human_time

    def words(value: float) -> str:
        number, unit = human_time(float(f"{value:.2g}")).split(" ")
        return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"

    _log_ticks(axis, (1.0, 3.0), words)


def count_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis of counts."""
    from ..text import human_count

    _log_ticks(axis, (1.0, 2.0, 5.0), human_count)


def _log_ticks(axis: Any, subs: tuple[float, ...], words: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, subs=subs, numticks=30))
    axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axis.set_minor_formatter(NullFormatter())


def horizontal_bars(axes: Any, comparison: Comparison, values: list[tuple[str, float, str]], names: bool) -> None:
    """One bar a driver: (slug, value, label at its end); `names` writes the drivers on the y axis."""
    looks = canvas.styles(comparison.run)
    for y, (driver, value, label) in enumerate(values):
        style = looks[driver]
        axes.barh(y, value, color=style.light, height=0.66, alpha=0.45 if driver == comparison.run.control else 0.9)
        axes.annotate(label, (value, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks(range(len(values)), labels=[comparison.run.display(d) for d, _, _ in values] if names else [""] * len(values))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
