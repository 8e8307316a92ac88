"""Times of a run inside user-mode Linux, as orders of magnitude: a table, no picture and no ranking."""

from __future__ import annotations

import numpy as np

from .. import measure
from ..comparison import Comparison, usable
from . import Figure


def build(comparison: Comparison) -> Figure | None:
    """None for other runs."""
    run = comparison.run
    if not measure.inside(run):
        return None
    rows = []
    for group in comparison.groups:
        cells = []
        for driver in run.shown:
            seconds = [s.seconds for case in group.cases for s in usable(run.blocks(case, driver)).values()]
            cells.append(measure.magnitude(float(np.exp(np.mean(np.log(seconds))))) if seconds else "–")
        rows.append((group.key, *cells))
    return Figure(
        "time-magnitudes", "Times inside user-mode Linux: orders of magnitude only",
        "System calls cost about a hundred times what they cost on a machine's own kernel, computation costs the same: "
        "these say that something takes milliseconds or minutes, and not which driver is faster.",
        "A table of times rounded to powers of ten.", ("cases", *(run.display(d) for d in run.shown)), tuple(rows), None, prose=True)
