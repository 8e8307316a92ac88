"""A driver's real facility beside our own engine of it, both in one run: device bytes and their ratio.

What a reference implementation is worth shows in its bytes: they should be the real
one's. Times are not compared here; those of a run have their own table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import measure, text
from .comparison import Comparison, metric_median, usable
from .result_file import CaseId, Driver, Run

COLUMNS = ("cases", "written", "read", "ours: written", "ours: read", "ours / real")


@dataclass(frozen=True)
class Pair:
    """Two variants of one driver that differ in their engine alone: the kernel's, and ours."""

    real: Driver
    ours: Driver

    @property
    def title(self) -> str:
        """'devicemapper (uml) and devicemapper:engine=userspace (uml)'."""
        return f"{self.real.label} ({self.real.engine}) and {self.ours.label} ({self.ours.engine})"


def pairs(run: Run) -> list[Pair]:
    """Every such pair among the drivers that passed the semantic check."""
    def rest(driver: Driver) -> tuple:
        return (driver.name, *sorted(item for item in driver.options.items() if item[0] != "engine"))

    drivers = [run.drivers[slug] for slug in run.ranked if "engine" in run.drivers[slug].options]
    own = [d for d in drivers if d.options["engine"] == "userspace"]
    real = [d for d in drivers if d not in own and "userspace" not in (d.engine, dict(d.status).get("Engine"))]
    return [Pair(r, o) for r in real for o in own if rest(r) == rest(o)]


def _medians(run: Run, case: CaseId, driver: Driver) -> tuple[float, float] | None:
    samples = usable(run.blocks(case, driver.slug)).values()
    written, read = (metric_median(samples, name) for name in ("bytes_dev_written", "bytes_dev_read"))
    return None if written is None or read is None else (written, read)


def _row(run: Run, pair: Pair, key: str, cases: Iterable[CaseId]) -> tuple[str, ...] | None:
    """Sums of the cases' medians over blocks; the ratio is the geometric mean of the cases'."""
    found = [(real, ours) for case in cases if (real := _medians(run, case, pair.real)) and (ours := _medians(run, case, pair.ours))]
    if not found:
        return None
    ratios = [math.log(max(sum(ours), measure.BYTES_MIN) / max(sum(real), measure.BYTES_MIN)) for real, ours in found]
    sums = [sum(each[side][part] for each in found) for side in (0, 1) for part in (0, 1)]
    return (key + (f" ({len(found)})" if len(found) > 1 else ""), *(text.human_bytes(s) for s in sums), text.ratio(math.exp(sum(ratios) / len(ratios))))


def tables(comparison: Comparison, by_case: bool = False) -> list[tuple[str, Sequence[tuple[str, ...]]]]:
    """(title, rows under COLUMNS) of each pair that has cases in common."""
    sets = [(c.key, (c,)) for c in comparison.cases] if by_case else [(g.key, g.cases) for g in comparison.groups]
    made = []
    for pair in pairs(comparison.run):
        rows = [row for key, cases in sets if (row := _row(comparison.run, pair, key, cases))]
        if rows:
            made.append((f"Device bytes of {pair.title}", rows))
    return made
