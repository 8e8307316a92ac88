"""Bytes written to the device per byte the application changed, at the first write: bars by file size."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from . import Figure, canvas, series


def _times(value: float) -> str:
    return f"{text.human_count(value) if value >= 1000 else text.trimmed(value)}×"


def _draw(comparison: Comparison, cases: list[CaseId]) -> Any:
    drivers = comparison.run.shown
    figure, axes = canvas.new(canvas.WIDTH_IN, 1.3 + 0.26 * len(drivers), 1, len(cases), sharex=True)
    highest = 1.0
    for index, (ax, case) in enumerate(zip(axes[0], cases)):
        bars = []
        for driver in drivers:
            amp = series.amplification(comparison, case, driver)
            value = max(amp.value, 0.0) if amp else 0.0
            highest = max(highest, value)
            bars.append((driver, max(value, 0.5), _times(value) if amp else "–"))
        ax.set_xscale("log")
        series.horizontal_bars(ax, comparison, bars, names=index == 0)
        ax.set_title(f"file of {text.human_bytes(case.size('size'))}")
    axes[0][0].set_xlim(0.5, highest * 40)
    ticks = [10.0**power for power in range(0, 13, 2) if 10.0**power <= highest * 10]
    axes[0][0].set_xticks(ticks, labels=[_times(tick) for tick in ticks])
    axes[0][0].minorticks_off()
    figure.supxlabel("device bytes per byte changed (logarithmic; lower is better)", fontsize=9, color=canvas.INK)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without copy_up.first_write."""
    cases, words = series.first_write_slice(comparison)
    warm = [c for c in cases if c.param("cache") in ("warm", None)] or cases
    warm = sorted((c for c in warm if c.size("size")), key=lambda c: c.size("size"))
    run = comparison.run
    if not any(series.amplification(comparison, c, d) for c in warm for d in run.shown):
        return None
    rows = []
    for case in warm:
        cells = []
        for driver in run.shown:
            amp = series.amplification(comparison, case, driver)
            written = series.metric(comparison, case, driver, "bytes_dev_written")
            cells.append(f"{_times(amp.value)} ({text.human_bytes(written.value)})" if amp and written else "–")
        rows.append((text.human_bytes(warm[len(rows)].size("size")), *cells))
    last = dict(zip(run.shown, rows[-1][1:]))
    return Figure(
        "write-amplification", "Bytes written to the device per byte changed",
        f"What the first write to a file of the image costs on the device. {words}. 1× would be the changed bytes alone; "
        "the file system's own metadata and journal come on top. Lower is better. Comparable across engine classes.",
        f"For a file of {rows[-1][0]}: " + ", ".join(f"{run.display(d)} {cell}" for d, cell in last.items()),
        ("file size", *(run.display(d) for d in run.shown)), tuple(rows), partial(_draw, comparison, warm))
