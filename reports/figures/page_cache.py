"""Page cache that each container of an image takes: flat where every container has its own copy, falling where they share."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from ..statistics import Estimate
from . import Figure, series, start_time

METRIC = "page_cache_bytes_per_container"


def _byte_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(2, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text.human_bytes(value)))
    axis.set_minor_formatter(NullFormatter())


def build(comparison: Comparison) -> Figure | None:
    """None without the metric."""
    run = comparison.run
    cases = [c for c in start_time.image_slice(comparison)
             if any(series.metric(comparison, c, d, METRIC) for d in run.shown)]
    if not cases:
        return None

    def value(case: CaseId, driver: str) -> Estimate | None:
        return series.metric(comparison, case, driver, METRIC)

    rows = tuple((text.human_count(c.size("containers")), *(text.human_bytes(e.value) if (e := value(c, d)) else "–" for d in run.shown))
                 for c in cases)
    return Figure(
        "page-cache", "Page cache per container",
        "Memory the kernel spends on the files that containers of one image read. A falling line: containers share one cached copy; "
        "a flat one: each has its own. Lower is better. Comparable across engine classes.",
        f"At {rows[-1][0]} containers: " + ", ".join(f"{run.display(d)} {v}" for d, v in zip(run.shown, rows[-1][1:])),
        ("containers", *(run.display(d) for d in run.shown)), rows,
        partial(start_time.draw_against_containers, comparison, cases, value, "page cache per container (lower is better)", _byte_ticks))
