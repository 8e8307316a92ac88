"""Mount time and look-up time against the number of layers below a container."""

from __future__ import annotations

import re
from functools import partial

from .. import text
from ..comparison import Comparison
from ..histogram import Histogram
from . import Figure, series

WORKLOAD = "layer_build.depth"
_OP = re.compile(r"^(mount|lookup)_depth_(\d+)$")
TITLES = {"mount": "mount a container", "lookup": "look up a file of the lowest layer"}


def _medians(comparison: Comparison) -> dict[str, dict[str, dict[int, float]]]:
    """operation → driver → depth → median seconds, histograms of all blocks merged."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for case in comparison.run.cases_of(WORKLOAD):
        for driver in comparison.run.shown:
            samples = comparison.run.blocks(case, driver).values()
            names = {name for s in samples for name in s.latency}
            for name in sorted(names):
                match = _OP.match(name)
                merged = Histogram.merged(s.latency[name] for s in samples if name in s.latency)
                middle = merged.percentile(0.5) if match else None
                if middle:
                    found.setdefault(match[1], {}).setdefault(driver, {})[int(match[2])] = middle * 1e-9
    return found


def build(comparison: Comparison) -> Figure | None:
    """None without layer_build.depth or its latencies."""
    medians = _medians(comparison)
    medians = {op: medians[op] for op in TITLES if op in medians}
    if not medians:
        return None
    run = comparison.run
    drivers = [d for d in run.shown if any(d in own for own in medians.values())]
    depths = sorted({depth for own in medians.values() for by_depth in own.values() for depth in by_depth})
    rows = tuple((TITLES[op], str(depth), *(text.human_time(medians[op][d][depth]) if depth in medians[op].get(d, {}) else "–" for d in drivers))
                 for op in medians for depth in depths)
    last = rows[-1]
    return Figure(
        "layer-depth", "What layers below a container cost",
        "Median times (service time, closed loop) against the number of layers. Lower is better. Times of different engine classes do not compare.",
        f"{last[0]} at {last[1]} layers: " + ", ".join(f"{run.display(d)} {v}" for d, v in zip(drivers, last[2:])),
        ("operation", "layers", *(run.display(d) for d in drivers)), rows, partial(series.draw_medians, comparison, {TITLES[op]: own for op, own in medians.items()}))
