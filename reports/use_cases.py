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
from .comparison import Comparison, Ranking, metric_median
from .result_file import CaseId

BIG_FILE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class UseCase:
    """`selects` says which cases speak for it; `costs` which per-container metrics its price list shows."""

    key: str
    title: str
    question: str
    selects: Callable[[CaseId], bool]
    per_container: bool = False


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
    UseCase("big-files", "First writes to big files", "a database or log file that came with the image", _big_files),
    UseCase("small-files", "Many small files, metadata", "chown -R, mv and appends over a tree", _small_files),
    UseCase("start-storm", "Start storm, density", "many containers of one image", _starts, per_container=True),
)


@dataclass
class Verdict:
    """One use case in one engine class, in words."""

    use_case: UseCase
    engine: str
    ranking: Ranking
    workloads: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Cases that count: those every driver finished."""
        return len(self.ranking.common)


def verdicts(comparison: Comparison) -> list[Verdict]:
    """All use cases, engine class by engine class; those without a case here have an empty ranking."""
    chosen = [(u, tuple(c for c in comparison.cases if u.selects(c))) for u in USE_CASES]
    ranked = comparison.rankings(((u.key, cases) for u, cases in chosen), weighted=True)
    return [Verdict(u, engine, by_key[u.key], tuple(dict.fromkeys(c.workload for c in cases)))
            for engine, by_key in ranked.items() for u, cases in chosen]


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
            times = f"{text.ratio(own / written[least])}× {comparison.run.label(least)}" if written[least] > 0 else "the least writes none"
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


def cautions(comparison: Comparison, verdict: Verdict) -> list[str]:
    """What the times of the winners leave out: 'vfs copies the whole image …'."""
    return [f"{comparison.run.label(d)} {caveat}" for d in verdict.ranking.winners for caveat in comparison.run.drivers[d].caveats]
