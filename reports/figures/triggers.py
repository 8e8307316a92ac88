"""Trigger matrix: which operations on a file of the image make a driver copy it."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from . import Figure, canvas, series

WORKLOAD = "copy_up.triggers"


def _draw(comparison: Comparison, ops: list[str], cells: dict[tuple[str, str], tuple[bool, float]]) -> Any:
    """`ops` are row labels; `cells` hold (copied, device bytes) by row and driver."""
    from matplotlib.patches import Rectangle

    from .heat_map import wrap_label

    drivers = comparison.run.shown
    word = "copy " if len(drivers) < 10 else ""
    figure, axes = canvas.new(canvas.WIDTH_IN, 0.8 + 0.28 * len(ops))
    ax = axes[0][0]
    for y, op in enumerate(ops):
        for x, driver in enumerate(drivers):
            cell = cells.get((op, driver))
            copied = bool(cell and cell[0])
            ax.add_patch(Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, lw=0.8 if cell else 0, edgecolor=canvas.GRID,
                                   facecolor="#8a4b08" if copied else "none", hatch=None if cell else "..."))
            words = "–" if not cell else f"{word}{text.human_bytes(cell[1])}" if copied else text.human_bytes(cell[1])
            ax.text(x + 0.5, y + 0.5, words, ha="center", va="center", fontsize=7.5 if len(drivers) > 7 else 8,
                    color="#ffffff" if copied else canvas.INK, weight="bold" if copied else "normal")
    ax.set(xlim=(0, len(drivers)), ylim=(len(ops), 0))
    ax.set_xticks([x + 0.5 for x in range(len(drivers))], labels=[wrap_label(comparison.run.display(d), 12) for d in drivers],
                  fontsize=8 if len(drivers) > 7 else 9)
    ax.set_yticks([y + 0.5 for y in range(len(ops))], labels=ops)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without copy_up.triggers. Rows of the file size with most operations first, other sizes after them."""
    run = comparison.run
    cases = [c for c in run.cases_of(WORKLOAD) if c.param("op")]
    if not cases:
        return None
    sizes = [c.size("size") or 0 for c in cases]
    size = max(sizes, key=lambda s: (sizes.count(s), s))
    cases = sorted(cases, key=lambda c: ((c.size("size") or 0) != size, c.size("size") or 0, c.param("op")))

    def name(case: CaseId) -> str:
        other = (case.size("size") or 0) != size
        return f"{case.param('op')} ({text.human_bytes(case.size('size') or 0)})" if other else case.param("op")

    cells: dict[tuple[str, str], tuple[bool, float]] = {}
    for case in cases:
        for driver in run.shown:
            copied = series.metric(comparison, case, driver, "copied")
            written = series.metric(comparison, case, driver, "bytes_dev_written")
            if copied and written:
                cells[name(case), driver] = (copied.value >= 0.5, written.value)
    ops = [name(c) for c in cases]
    rows = tuple((op, *((("copies, " if cells[op, d][0] else "") + text.human_bytes(cells[op, d][1])) if (op, d) in cells else "–"
                        for d in run.shown)) for op in ops)
    counts = [f"{run.display(d)} {sum(cells.get((op, d), (False, 0))[0] for op in ops)}" for d in run.shown]
    return Figure(
        "copy-triggers", f"What makes a driver copy the whole file ({text.human_bytes(size)})",
        "One operation on a file of the image, then fsync; other sizes stand beside the operation. Filled cells: at least half of the file was written to the device. "
        "The number is what reached the device.",
        f"Operations out of {len(ops)} that copied the file: " + ", ".join(counts),
        ("operation", *(run.display(d) for d in run.shown)), rows, partial(_draw, comparison, ops, cells))
