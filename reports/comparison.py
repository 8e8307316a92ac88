"""Ranks drivers on sets of cases: ratios paired by block, to the best and to the control.

Times are ranked within one engine class only; inside user-mode Linux the measure is
device bytes (measure.py), and what is called seconds below is bytes. A set's value in a block is the
(weighted) geometric mean over the cases that every driver still in the ranking
finished; a driver with less than half of the cases is left out, and said so. The
same code serves one case, a group of cases and a use case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from . import measure, statistics
from .result_file import CaseId, Run, Sample
from .statistics import Estimate

UNSTABLE_SPREAD = 0.10  # robust spread of a driver's own blocks
HARNESS_FAMILY = "harness"
UNEQUAL_WORK = "depth_refused"  # a sample with this flag did less work than asked for
_SPLIT_BY = {"copy_up.first_write": "size"}  # workloads whose cases differ by orders of magnitude


@dataclass
class Standing:
    """One driver on one set of cases. `verdict`: best, tie, slower, only, or none (see `reason`)."""

    driver: str
    measured: str = measure.TIME
    verdict: str = "none"
    seconds: Estimate | None = None  # geometric mean over cases, median over blocks
    to_best: Estimate | None = None
    to_control: Estimate | None = None
    spread: float = 0.0  # robust relative spread of its own blocks
    reason: str = ""
    adjusted_p: float | None = None

    @property
    def unstable(self) -> bool:
        """Whether its own blocks differ too much to trust a single number."""
        return self.spread > UNSTABLE_SPREAD


@dataclass
class Ranking:
    """All ranked drivers of one engine class on one set of cases."""

    cases: tuple[CaseId, ...]
    engine: str
    common: tuple[CaseId, ...] = ()
    standings: dict[str, Standing] = field(default_factory=dict)
    control: Estimate | None = None  # the control's seconds on the common cases
    best: str | None = None

    @property
    def ties(self) -> list[str]:
        """Slugs that cannot be told from the best, in driver order."""
        return [s.driver for s in self.standings.values() if s.verdict == "tie"]

    @property
    def winners(self) -> list[str]:
        """The best and its ties."""
        return [s.driver for s in self.standings.values() if s.verdict in ("best", "only", "tie")]

    @property
    def runner_up(self) -> Standing | None:
        """The best of those that are slower."""
        slower = [s for s in self.standings.values() if s.verdict == "slower" and s.to_best]
        return min(slower, key=lambda s: s.to_best.value, default=None)

    @property
    def inference(self) -> bool:
        """Whether intervals are 95 % intervals and not ranges."""
        kinds = {s.to_best.kind for s in self.standings.values() if s.to_best and s.driver != self.best}
        return kinds <= {"ci95"} and bool(kinds)


@dataclass(frozen=True)
class Group:
    """Cases shown as one row."""

    key: str
    cases: tuple[CaseId, ...]


def usable(samples: Mapping[int, Sample]) -> dict[int, Sample]:
    """Samples that did all the work and took measurable time."""
    return {block: s for block, s in samples.items() if s.seconds > 0 and UNEQUAL_WORK not in s.flags}


def metric_median(samples: Iterable[Sample], name: str) -> float | None:
    """Median over blocks of a metric; None when no sample has it."""
    values = [sample.metrics[name] for sample in samples if name in sample.metrics]
    return float(np.median(values)) if values else None


def _log_means(run: Run, driver: str, cases: Iterable[CaseId], weights: Mapping[CaseId, float]) -> dict[int, float]:
    """Block → weighted mean of log seconds, for blocks in which all `cases` were finished."""
    cells = [(usable(run.blocks(case, driver)), weights[case]) for case in cases]
    if not cells:
        return {}
    blocks = set.intersection(*(set(samples) for samples, _ in cells))
    total = sum(weight for _, weight in cells)
    kind = measure.kind(run)
    return {b: sum(math.log(measure.value(kind, s[b])) * w for s, w in cells) / total for b in sorted(blocks)}


def _paired(run: Run, logs: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Ratio of two drivers over the blocks both have."""
    shared = sorted(set(logs) & set(reference))
    if not shared:
        return None
    differences = np.array([logs[b] - reference[b] for b in shared])
    return statistics.paired_log_ratio(differences, run.body["run_id"]).exp()


def absence(run: Run, driver: str, cases: Iterable[CaseId]) -> str:
    """Why a driver has no number here."""
    names = {"/".join([case.workload, driver, *(f"{k}:{v}" for k, v in case.params)]) for case in cases}
    for failure in run.body["failures"]:
        if failure["cell"].lower() in {name.lower() for name in names}:
            return f"failed: {failure['detail']}"
    for skip in run.body["skips"]:
        if skip["driver"] == driver and (not skip.get("cell") or skip["cell"] in names):
            return skip["detail"]
    if any(UNEQUAL_WORK in s.flags for case in cases for s in run.blocks(case, driver).values()):
        return "refused the depth asked for"
    return "not measured"


def paired_ratio(run: Run, cases: Iterable[CaseId], driver: str, reference: str, weights: Mapping[CaseId, float]) -> Estimate | None:
    """Time of `driver` over `reference` on the cases both finished; None without one."""
    shared = [c for c in cases if usable(run.blocks(c, driver)) and usable(run.blocks(c, reference))]
    return _paired(run, _log_means(run, driver, shared, weights), _log_means(run, reference, shared, weights))


def rank(run: Run, cases: Iterable[CaseId], engine: str, weights: Mapping[CaseId, float] | None = None,
         drivers: Iterable[str] | None = None) -> Ranking:
    """Ranks the drivers of `engine` (or those given) on `cases`; verdicts are set, without correction for many rankings."""
    cases = tuple(cases)
    weights = weights or {case: 1.0 for case in cases}
    drivers = run.ranked_in(engine) if drivers is None else list(drivers)
    ranking = Ranking(cases, engine)
    finished = {d: [c for c in cases if usable(run.blocks(c, d))] for d in drivers}
    most = max((len(f) for f in finished.values()), default=0)
    taking_part = [d for d in drivers if finished[d] and 2 * len(finished[d]) >= most]
    ranking.common = tuple(c for c in cases if taking_part and all(c in finished[d] for d in taking_part))
    logs = {d: _log_means(run, d, ranking.common, weights) for d in taking_part}
    for driver in drivers:
        standing = ranking.standings[driver] = Standing(driver, measure.kind(run))
        if not logs.get(driver):
            done = len(finished[driver])
            standing.reason = (f"{done} of {len(cases)} cases only" if 0 < done < len(cases)
                               else absence(run, driver, cases))
            continue
        values = np.array(list(logs[driver].values()))
        standing.seconds = statistics.median_estimate(np.exp(values))
        standing.spread = math.expm1(1.4826 * statistics.mad(values)) if len(values) > 2 else 0.0
    control = _log_means(run, run.control, ranking.common, weights)
    if control:
        ranking.control = statistics.median_estimate(np.exp(np.array(list(control.values()))))
    _compare(run, ranking, logs, control)
    return ranking


def _best(logs: Mapping[str, Mapping[int, float]]) -> str:
    """The driver that no other beats in pairs: among the four lowest medians, the one with the smallest worst ratio."""
    shared = sorted(set.intersection(*(set(values) for values in logs.values())))
    if not shared:
        return min(logs, key=lambda d: (float(np.median(list(logs[d].values()))), d))
    front = sorted(logs, key=lambda d: (float(np.median([logs[d][b] for b in shared])), d))[:4]

    def log_ratio(driver: str, other: str) -> float:
        both = sorted(set(logs[driver]) & set(logs[other]))
        return float(np.median(statistics.walsh_averages(np.array([logs[driver][b] - logs[other][b] for b in both]))))

    def worst(driver: str) -> float:
        return max((log_ratio(driver, other) for other in front if other != driver), default=0.0)

    return min(front, key=lambda d: (worst(d), d))


def _compare(run: Run, ranking: Ranking, logs: Mapping[str, dict[int, float]], control: Mapping[int, float]) -> None:
    """Fills in best, ratios and verdicts."""
    present = {d: values for d, values in logs.items() if values}
    if not present:
        return
    ranking.best = _best(present)
    for driver, values in present.items():
        standing = ranking.standings[driver]
        standing.to_best = _paired(run, values, present[ranking.best])
        standing.to_control = _paired(run, values, control)
    decide(ranking)


def decide(ranking: Ranking) -> None:
    """Sets verdicts from the ratios and, where present, adjusted p values."""
    measured = [s for s in ranking.standings.values() if s.seconds]
    for standing in measured:
        if standing.driver == ranking.best:
            standing.verdict = "best" if len(measured) > 1 else "only"
        elif standing.to_best is None:
            standing.verdict, standing.reason = "none", "no block in common with the best"
        else:
            standing.verdict = "tie" if statistics.is_tie(standing.to_best, standing.adjusted_p) else "slower"


def adjust(rankings: Iterable[Ranking]) -> None:
    """Benjamini-Hochberg over all comparisons with the best in `rankings`; verdicts follow."""
    rankings = list(rankings)
    tested = [s for r in rankings for s in r.standings.values()
              if s.driver != r.best and s.to_best and s.to_best.p is not None]
    for standing, p in zip(tested, statistics.benjamini_hochberg([s.to_best.p for s in tested])):
        standing.adjusted_p = p
    for ranking in rankings:
        decide(ranking)


class Comparison:
    """Everything the outputs show about one run's times, computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def cases(self) -> list[CaseId]:
        """Cases that compare drivers: all but the harness' own."""
        return [case for case in self.run.cases if case.workload.split(".")[0] != HARNESS_FAMILY]

    @cached_property
    def groups(self) -> list[Group]:
        """Rows of the table and the heat map: one a workload, first writes one a file size."""
        keyed: dict[str, list[CaseId]] = {}
        for case in self.cases:
            split = _SPLIT_BY.get(case.workload)
            value = case.param(split) if split else None
            keyed.setdefault(f"{case.workload} {value}" if value else case.workload, []).append(case)
        return [Group(key, tuple(cases)) for key, cases in keyed.items()]

    def rankings(self, sets: Iterable[tuple[str, tuple[CaseId, ...]]]) -> dict[str, dict[str, Ranking]]:
        """engine → key → Ranking of each named set of cases, corrected for their number."""
        sets = list(sets)
        result: dict[str, dict[str, Ranking]] = {}
        for engine in self.run.engines:
            result[engine] = {key: rank(self.run, cases, engine) for key, cases in sets}
            adjust(result[engine].values())
        return result

    @cached_property
    def by_group(self) -> dict[str, dict[str, Ranking]]:
        """engine → group key → Ranking."""
        return self.rankings((group.key, group.cases) for group in self.groups)

    @cached_property
    def by_case(self) -> dict[str, dict[str, Ranking]]:
        """engine → case key → Ranking."""
        return self.rankings((case.key, (case,)) for case in self.cases)

    @cached_property
    def noise_floor(self) -> float | None:
        """Smallest relative difference visible in this run, from the control's own spread."""
        kind = measure.kind(self.run)
        values = [np.array([measure.value(kind, s) for s in usable(self.run.blocks(case, self.run.control)).values()])
                  for case in self.cases]
        return statistics.noise_floor([v for v in values if len(v)])

    @cached_property
    def blocks(self) -> int:
        """Most blocks any cell has."""
        return max((len(blocks) for blocks in self.run.samples.values()), default=0)

    @property
    def inference(self) -> bool:
        """Whether there are blocks enough for 95 % intervals."""
        return self.blocks >= statistics.INFERENCE_BLOCKS_MIN
