"""What single operations cost in a store that already holds many layers."""

from __future__ import annotations

from functools import partial

from .. import text
from ..comparison import Comparison
from ..histogram import Histogram
from . import Figure, series

WORKLOAD = "scale.layers"
OPERATIONS = {"prepare": "prepare a layer", "mount": "mount it", "unmount": "unmount it", "commit": "commit it", "remove": "remove it"}
_DRAWN = ("prepare", "mount", "remove")


def medians(comparison: Comparison) -> dict[str, dict[str, dict[int, float]]]:
    """operation → driver → layers in the store → median seconds, histograms of all blocks merged."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for case in comparison.run.cases_of(WORKLOAD):
        for driver in comparison.run.shown:
            samples = comparison.run.blocks(case, driver).values()
            for name in OPERATIONS:
                middle = Histogram.merged(s.latency[name] for s in samples if name in s.latency).percentile(0.5)
                if middle:
                    found.setdefault(name, {}).setdefault(driver, {})[int(case.size("layers") or 0)] = middle * 1e-9
    return {name: found[name] for name in OPERATIONS if name in found}


def build(comparison: Comparison) -> Figure | None:
    """None without scale.layers at two numbers of layers."""
    found = medians(comparison)
    counts = sorted({count for own in found.values() for by_count in own.values() for count in by_count})
    if len(counts) < 2:
        return None
    run = comparison.run
    drivers = [d for d in run.shown if any(d in own for own in found.values())]
    rows = tuple((OPERATIONS[op], str(count), *(text.human_time(found[op][d][count]) if count in found[op].get(d, {}) else "–" for d in drivers))
                 for op in found for count in counts)
    growth = ", ".join(f"{run.display(d)} {text.ratio(found['prepare'][d][counts[-1]] / found['prepare'][d][counts[0]])}×"
                       for d in drivers if {counts[0], counts[-1]} <= found.get("prepare", {}).get(d, {}).keys())
    return Figure(
        "population", "What the layers already in the store cost",
        "Median times (service time, closed loop) against the number of layers the store held before. Lower is better; flat is best. "
        "Times of different engine classes do not compare.",
        f"from {counts[0]} to {counts[-1]} layers a prepare takes: {growth}",
        ("operation", "layers in the store", *(run.display(d) for d in drivers)), rows,
        partial(series.draw_medians, comparison, {OPERATIONS[op]: found[op] for op in _DRAWN if op in found}, "layers in the store"))
