"""What containers do to each other: a deletion beside a working one, starts beside one with pages to write back."""

from __future__ import annotations

from .. import text
from ..comparison import Comparison
from ..histogram import Histogram
from ..result_file import CaseId
from . import Figure

DELETION = "peers.neighbour"
DIRTY = "scale.dirty_start"


def _merged(comparison: Comparison, case: CaseId, driver: str, name: str) -> Histogram | None:
    """The latencies of all blocks together; None where there are none."""
    samples = [s for s in comparison.run.blocks(case, driver).values() if name in s.latency]
    return Histogram.merged(s.latency[name] for s in samples) if samples else None


def _median(histogram: Histogram) -> str:
    return text.human_time((histogram.percentile(0.5) or 0) * 1e-9)


def _longest(histogram: Histogram) -> str:
    return text.human_time((histogram.max or 0) * 1e-9)


def _deletion(comparison: Comparison) -> Figure | None:
    run = comparison.run
    rows, words = [], []
    for case in run.cases_of(DELETION):
        for driver in run.shown:
            alone, beside = (_merged(comparison, case, driver, name) for name in ("alone", "beside_deletion"))
            if not alone or not beside:
                continue
            before, during = alone.percentile(0.5), beside.percentile(0.5)
            factor = f"{text.ratio(during / before)}×" if before and during else "–"
            rows.append((run.display(driver), f"scale:{case.param('scale')}", _median(alone), _median(beside), factor,
                         _longest(beside), str(beside.count)))
            words.append(f"{run.display(driver)} {factor}")
    if not rows:
        return None
    return Figure("beside-deletion", "What a deletion does to a neighbour",
                  "A container's synced 4 KiB writes, alone and while a layer of many files is deleted (service time, closed loop). "
                  "Lower is better; 1× means the deletion is not felt. "
                  "The last column says how many writes fell into it: few make the ratio a hint.",
                  "median write beside a deletion, against alone: " + ", ".join(words),
                  ("driver", "files deleted", "median alone", "median beside", "ratio", "longest beside", "writes beside"), tuple(rows), None)


def _dirty(comparison: Comparison) -> Figure | None:
    run = comparison.run
    rows = []
    for driver in run.shown:
        for case in run.cases_of(DIRTY):
            start, stop = (_merged(comparison, case, driver, name) for name in ("start", "stop"))
            if start and stop:
                rows.append((run.display(driver), text.human_bytes(case.size("dirty") or 0), _median(start), _longest(start),
                             _median(stop), _longest(stop)))
    if not rows:
        return None
    return Figure("dirty-pages", "Starting and stopping while a neighbour's pages are unwritten",
                  "Start is prepare, mount and reading 50 files; stop is unmount, which on some drivers writes back what others left. Lower is better.",
                  "median stop: " + ", ".join(f"{row[0]} with {row[1]} {row[4]}" for row in rows),
                  ("driver", "to be written back", "median start", "longest start", "median stop", "longest stop"), tuple(rows), None)


def build(comparison: Comparison) -> list[Figure]:
    """A table each; none without the workloads."""
    return [figure for figure in (_deletion(comparison), _dirty(comparison)) if figure is not None]
