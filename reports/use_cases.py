"""What people choose a driver for, and which workloads speak for it.

Within a use case each workload has the same weight, shared out evenly over its
cases; the outputs print the workloads beside the verdict, so no weight is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import text
from .comparison import Comparison, Ranking, adjust, equal_by_workload, metric_median, paired_ratio, rank
from .result_file import CaseId, Driver
from .statistics import Estimate

BIG_FILE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class UseCase:
    """`selects` says which cases speak for it; `costs` which per-container metrics its price list shows."""

    key: str
    title: str
    question: str
    selects: Callable[[CaseId], bool]
    per_container: bool = False
    prepare_timed: bool = True

    def disqualifies(self, driver: Driver) -> str:
        """Why `driver` is no candidate here although it may be fast; "" when it is one."""
        if driver.copies_at_prepare and not self.prepare_timed:
            return "copies the whole image whenever a container is made, outside these times"
        if driver.drops_syncs and not self.prepare_timed:
            return "drops every sync: a crash loses what these times call written"
        return ""


_START = re.compile(r"^cache_reuse\..*(container|start|storm|densit|population|scal)")


def _builds(case: CaseId) -> bool:
    if case.workload.startswith("cache_reuse."):
        return not _START.match(case.workload)
    return case.workload in ("layer_build.pull", "layer_build.build", "layer_build.diff", "layer_build.remove")


def _big_files(case: CaseId) -> bool:
    return case.workload == "copy_up.first_write" and (case.size("size") or 0) >= BIG_FILE_BYTES


def _small_files(case: CaseId) -> bool:
    return case.workload in ("copy_up.chown_tree", "copy_up.rename_dir", "copy_up.tree_append")


def _starts(case: CaseId) -> bool:
    return bool(_START.match(case.workload))


USE_CASES = (
    UseCase("ci-builder", "CI builder", "pull, build, push and delete images", _builds),
    UseCase("big-files", "First writes to big files", "a database or log file that came with the image", _big_files, prepare_timed=False),
    UseCase("small-files", "Many small files, metadata", "chown -R, mv and appends over a tree", _small_files, prepare_timed=False),
    UseCase("start-storm", "Start storm, density", "many containers of one image", _starts, per_container=True),
)


@dataclass
class Verdict:
    """One use case in one engine class, in words."""

    use_case: UseCase
    engine: str
    ranking: Ranking
    workloads: tuple[str, ...]
    set_aside: tuple[tuple[str, str, Estimate | None], ...] = ()  # slug, reason, its time over the best's

    @property
    def cells(self) -> int:
        """Cases that count: those every driver finished."""
        return len(self.ranking.common)


def _verdict(comparison: Comparison, use_case: UseCase, engine: str) -> Verdict:
    run = comparison.run
    cases = tuple(c for c in comparison.cases if use_case.selects(c))
    weights = equal_by_workload(cases)
    reasons = {d: use_case.disqualifies(run.drivers[d]) for d in run.ranked_in(engine)}
    ranking = rank(run, cases, engine, weights, [d for d, reason in reasons.items() if not reason])
    aside = tuple((d, reason, paired_ratio(run, cases, d, ranking.best, weights) if ranking.best else None)
                  for d, reason in reasons.items() if reason)
    return Verdict(use_case, engine, ranking, tuple(dict.fromkeys(c.workload for c in cases)), aside)


def verdicts(comparison: Comparison) -> list[Verdict]:
    """All use cases, engine class by engine class; those without a case here have an empty ranking."""
    found = [_verdict(comparison, use_case, engine) for engine in comparison.run.engines for use_case in USE_CASES]
    adjust(verdict.ranking for verdict in found)
    return found


def set_aside_words(comparison: Comparison, verdict: Verdict) -> list[str]:
    """'vfs (0.73× the fastest) copies …' for each driver that is no candidate."""
    return [f"{comparison.run.label(slug)}{f' ({text.ratio(e.value)}× the fastest)' if e else ''} {reason}"
            for slug, reason, e in verdict.set_aside]


def confidence(verdict: Verdict) -> str:
    """How sure the verdict is, in one sentence fragment."""
    ranking = verdict.ranking
    measured = [s for s in ranking.standings.values() if s.seconds]
    if not measured:
        return "no case of this run speaks for it"
    if len(measured) == 1:
        return "only one driver measured"
    blocks = min(s.seconds.n for s in measured)
    enough = ranking.inference
    if ranking.ties:
        base = "a tie: " + ("within 95 % intervals" if enough else "ranges overlap")
    else:
        base = "clear: outside every 95 % interval" if enough else "ahead in every block"
    shaky = any(s.unstable and s.verdict in ("best", "tie") for s in measured)
    tail = "; times unsteady" if shaky else ""
    return f"{base}{tail}; {blocks} block{'s' if blocks != 1 else ''}" + ("" if enough else ", no inference")


def margin(verdict: Verdict) -> str:
    """The runner-up and its distance."""
    second = verdict.ranking.runner_up
    if second is None:
        return "–"
    e = second.to_best
    return f"{text.ratio(e.value)}× [{text.ratio(e.low)}–{text.ratio(e.high)}]"


def device_bytes(comparison: Comparison, ranking: Ranking) -> dict[str, float]:
    """Driver → bytes written to the device, median over blocks, summed over the common cases."""
    totals: dict[str, float] = {}
    for driver, standing in ranking.standings.items():
        if not standing.seconds:
            continue
        values = [metric_median(comparison.run.blocks(c, driver).values(), "bytes_dev_written") for c in ranking.common]
        if all(value is not None for value in values):
            totals[driver] = float(sum(values))
    return totals


def per_container(comparison: Comparison, ranking: Ranking, metric: str) -> dict[str, float]:
    """Driver → median over the common cases of a per-container metric."""
    found: dict[str, float] = {}
    for driver, standing in ranking.standings.items():
        values = [metric_median(comparison.run.blocks(c, driver).values(), metric) for c in ranking.common]
        values = [value for value in values if value is not None]
        if standing.seconds and values:
            found[driver] = float(np.median(values))
    return found


def price(comparison: Comparison, verdict: Verdict, driver: str) -> list[str]:
    """What choosing `driver` costs: device bytes against the thriftiest, its worst case, memory and space."""
    lines = []
    written = device_bytes(comparison, verdict.ranking)
    if driver in written and len(written) > 1:
        least = min(written, key=lambda d: (written[d], d))
        own = written[driver]
        if own <= written[least] * 1.02:
            lines.append(f"writes least to the device: {text.human_bytes(own)}")
        else:
            times = f"{text.ratio(own / written[least])}× what {comparison.run.label(least)} writes" if written[least] > 0 else "the least writes none"
            lines.append(f"writes {text.human_bytes(own)} to the device ({times})")
    worst = None
    for case in verdict.ranking.common:
        standing = comparison.by_case[verdict.engine][case.key].standings[driver]
        if standing.to_best and (worst is None or standing.to_best.value > worst[0]):
            worst = (standing.to_best.value, case)
    if worst and worst[0] > 1.1:
        lines.append(f"at worst {text.ratio(worst[0])}× the best, in {worst[1].key}")
    if verdict.use_case.per_container:
        for metric, words in (("page_cache_bytes_per_container", "page cache"), ("space_bytes_per_container", "space")):
            values = per_container(comparison, verdict.ranking, metric)
            if driver in values:
                lines.append(f"{text.human_bytes(values[driver])} {words} per container")
    return lines
