"""What measuring itself costs: empty operations and phases on the `null` driver. A table only."""

from __future__ import annotations

from .. import text
from ..comparison import Comparison
from . import Figure, series

WORKLOAD = "harness.overhead"
METRICS = (("overhead_operation_ns", "one operation with its latency recorded"), ("overhead_phase_ns", "one timed phase"))


def build(comparison: Comparison) -> Figure | None:
    """None without harness.overhead."""
    rows = []
    for case in comparison.run.cases_of(WORKLOAD):
        for driver in comparison.run.drivers:
            for metric, words in METRICS:
                e = series.metric(comparison, case, driver, metric)
                if e:
                    rows.append((words, text.human_time(e.value * 1e-9), f"{text.human_time(e.low * 1e-9)}–{text.human_time(e.high * 1e-9)}", str(e.n)))
    if not rows:
        return None
    return Figure(
        "harness-overhead", "What measuring costs",
        "The harness with nothing in it, on the driver that stores nothing. Shares below these times are the harness, not the driver.",
        "; ".join(f"{row[0]}: {row[1]}" for row in rows), ("what", "median", "interval", "blocks"), tuple(rows), None)
