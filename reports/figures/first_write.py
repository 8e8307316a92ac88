"""First-write latency against the size of the lower file: log-log, a line per driver, cold and warm panels."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from . import Figure, canvas, series


def _panels(cases: list[CaseId]) -> dict[str, list[CaseId]]:
    """Cache state → cases by size; one panel "all" when the workload has no such parameter."""
    panels: dict[str, list[CaseId]] = {}
    for case in sorted(cases, key=lambda c: c.size("size") or 0):
        panels.setdefault(case.param("cache") or "all", []).append(case)
    return panels


def _draw(comparison: Comparison, panels: dict[str, list[CaseId]]) -> Any:
    figure, axes = canvas.new(canvas.WIDTH_IN, 4.6, 1, len(panels), sharey=True)
    for ax, (cache, cases) in zip(axes[0], panels.items()):
        ax.set(xscale="log", yscale="log", xlabel="size of the lower file", title=f"{cache} cache")
        ends = []
        for driver in comparison.run.shown:
            points = [(c.size("size"), e) for c in cases if (e := series.seconds(comparison, c, driver))]
            if points:
                series.draw_line(ax, comparison, driver, points)
                ends.append((points[-1][0], points[-1][1].value, comparison.run.display(driver),
                             canvas.styles(comparison.run)[driver].light))
        sizes = [c.size("size") for c in cases]
        series.log_bytes_axis(ax.xaxis, sizes)
        ax.set_xlim(min(sizes) / 1.6, max(sizes) * (1.6 if cache != list(panels)[-1] else 1.6))
        series.time_ticks(ax.yaxis)
        if ax is axes[0][-1]:
            canvas.label_ends(ax, ends)
    axes[0][0].set_ylabel("time of the first write, synced (lower is better)")
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without copy_up.first_write."""
    cases, words = series.first_write_slice(comparison)
    cases = [c for c in cases if c.size("size")]
    if not cases:
        return None
    panels = _panels(cases)
    run = comparison.run
    rows = tuple(
        (cache, case.param("size").upper(), *(text.human_time(e.value) + _range(e) if (e := series.seconds(comparison, case, d)) else "–"
                                              for d in run.shown))
        for cache, panel in panels.items() for case in panel)
    biggest = [panel[-1] for panel in panels.values()][0]
    spots = [f"{run.display(d)} {text.human_time(e.value)}" for d in run.shown if (e := series.seconds(comparison, biggest, d))]
    return Figure(
        "first-write-latency", "First write to a file of the image, by file size",
        f"A driver that copies whole files climbs with the file's size; one that shares blocks stays flat. {words}. "
        "Lower is better.",
        f"At {biggest.param('size').upper()}: " + ", ".join(spots),
        ("cache", "file size", *(run.display(d) for d in run.shown)), rows, partial(_draw, comparison, panels),
        legend="Points: medians over blocks; bars: intervals. Both axes are logarithmic.")


def _range(e: Any) -> str:
    return f" [{text.human_time(e.low)}–{text.human_time(e.high)}]" if e.kind != "none" else ""
