"""Space and inodes that one more container of an image takes."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from . import Figure, canvas, series

WORKLOAD = "cache_reuse.containers"
PANELS = (("space_bytes_per_container", "space", text.human_bytes), ("inodes_per_container", "inodes", text.human_count))


def biggest_case(comparison: Comparison) -> CaseId | None:
    """The case with most containers; among those, the one most drivers finished."""
    cases = [c for c in comparison.run.cases_of(WORKLOAD) if c.size("containers")]
    return max(cases, key=lambda c: (c.size("containers"), sum(bool(comparison.run.blocks(c, d)) for d in comparison.run.shown),
                                     c.key), default=None)


def _draw(comparison: Comparison, case: CaseId, panels: list[tuple]) -> Any:
    drivers = comparison.run.shown
    figure, axes = canvas.new(canvas.WIDTH_IN, 1.0 + 0.28 * len(drivers), 1, len(panels))
    for index, (ax, (metric, title, words)) in enumerate(zip(axes[0], panels)):
        values = [(d, series.metric(comparison, case, d, metric)) for d in drivers]
        highest = max((e.value for _, e in values if e), default=1.0)
        ax.set_xscale("symlog", linthresh=max(min([e.value for _, e in values if e and e.value > 0], default=1.0), 1.0))
        bars = [(d, max(e.value, 0.0) if e else 0.0, words(e.value) if e else "–") for d, e in values]
        series.horizontal_bars(ax, comparison, bars, names=index == 0)
        ax.set_xlim(0, max(highest, 1.0) * 12)
        ax.set_title(f"{title} per container")
        ax.set_xticks([])
        ax.grid(False)
    figure.supxlabel("logarithmic; lower is better", fontsize=9, color=canvas.INK)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without cache_reuse.containers."""
    case = biggest_case(comparison)
    run = comparison.run
    if case is None:
        return None
    panels = [p for p in PANELS if any(series.metric(comparison, case, d, p[0]) for d in run.shown)]
    if not panels:
        return None
    rows = tuple((run.display(d), *(words(e.value) if (e := series.metric(comparison, case, d, m)) else "–" for m, _, words in panels))
                 for d in run.shown)
    n = text.human_count(case.size("containers"))
    return Figure(
        "space-per-container", "Space and inodes per container",
        f"What {f'each of {n} containers' if n != '1' else 'a container'} started from one image adds to the store before it writes anything. "
        "Lower is better. Comparable across engine classes.",
        "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in rows),
        ("driver", *(f"{title} per container" for _, title, _ in panels)), rows, partial(_draw, comparison, case, panels))
