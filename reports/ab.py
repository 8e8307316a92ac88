"""A against B: two result files, or two drivers of one, case by case and workload by workload.

Times of two files are compared as ratios to the control of their own blocks, so that a
machine that was slower on one of the days cancels (METHOD decision 6); inside one file
the blocks pair and seconds compare. Device bytes and space carry little noise and are
compared exactly (d.2, step 5). No verdict is given across engine classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import likeness, measure, statistics
from .comparison import HARNESS_FAMILY, usable
from .errors import NothingToReport, ReportError, UsageError
from .result_file import CaseId, Run
from .statistics import Estimate

FLOOR = 0.025  # smaller effects are no regression (METHOD d.4)
PRECISION = 0.10  # "no difference" rules out one of this size
UNSTABLE_SHARE_MAX = 0.25  # of the workloads; more of them make the whole inconclusive
EXACT_SHARE = 0.01
EXACT_FLOOR = {"B": 2**20}  # other units: 1
EXACT_BLOCKS_MIN = 3
LEVELS = ("workload", "case")


@dataclass(frozen=True)
class Side:
    """A driver of a run; `name` is what the output calls it."""

    run: Run
    driver: str
    name: str


@dataclass
class Row:
    """One comparison. Times: `a`, `b` are medians in `unit` ("s", or "1" for ratios to the control), `ratio` is B/A.

    Verdicts of times: slower, faster, no difference, unstable; of counts: more, less, same, varies.
    """

    level: str  # case or workload
    name: str
    driver: str
    metric: str
    unit: str
    a: float
    b: float
    ratio: Estimate | None
    blocks: tuple[int, int]
    verdict: str = "unstable"
    adjusted_p: float | None = None

    @property
    def worse(self) -> bool:
        return self.verdict in ("slower", "more")


@dataclass
class Result:
    """Everything `sbench compare` shows."""

    a: Run
    b: Run
    paired: bool
    relative: bool
    floor: float = FLOOR
    precision: float = PRECISION
    rows: list[Row] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    differences: tuple[likeness.Difference, ...] = ()

    def timed(self, level: str) -> list[Row]:
        """Comparisons of times, of one level."""
        return [row for row in self.rows if row.metric == "real_time" and row.level == level]

    @property
    def verdict(self) -> str:
        """slower, inconclusive, or no regression: the exit code in words."""
        if any(row.worse for row in self.rows):
            return "slower"
        timed = self.timed("workload")
        unstable = sum(row.verdict == "unstable" for row in timed)
        return "inconclusive" if unstable > UNSTABLE_SHARE_MAX * len(timed) else "no regression"


def find_driver(run: Run, word: str, path: str) -> str:
    """The slug of a driver given by label or slug."""
    for driver in run.drivers.values():
        if word in (driver.slug, driver.label):
            return driver.slug
    raise UsageError(f"{path} has no driver '{word}'; it has {', '.join(d.label for d in run.drivers.values())}")


def sides(a: Run, b: Run, drivers: Sequence[str], paths: tuple[str, str]) -> list[tuple[Side, Side]]:
    """What is set against what: two named drivers, one named driver of both files, or all drivers of both."""
    same = a.body["run_id"] == b.body["run_id"]
    if len(drivers) > 2:
        raise UsageError("--driver is given at most twice: the first is A, the second B")
    if same and len(drivers) != 2:
        raise UsageError("one result needs two --driver options: the first is A, the second B; or name a second result")
    if len(drivers) == 2:
        first, second = find_driver(a, drivers[0], paths[0]), find_driver(b, drivers[1], paths[1])
        if same and first == second:
            raise UsageError(f"both --driver options name {drivers[0]}")
        return [(Side(a, first, a.label(first)), Side(b, second, b.label(second)))]
    if drivers:
        slug = find_driver(a, drivers[0], paths[0])
        find_driver(b, drivers[0], paths[1])
        return [(Side(a, slug, a.label(slug)), Side(b, slug, b.label(slug)))]
    both = [d for d in a.drivers.values() if d.slug in b.drivers and d.stores_layers and d.slug != a.control]
    return [(Side(a, d.slug, d.label), Side(b, d.slug, d.label)) for d in both if "failed" not in (d.semantic_check, b.drivers[d.slug].semantic_check)]


def _logs(side: Side, cases: Iterable[CaseId], relative: bool) -> dict[int, float]:
    """Block → mean over `cases` of ln seconds, or of ln(seconds / control's seconds), where all were finished."""
    cells = []
    for case in cases:
        own = {block: math.log(s.seconds) for block, s in usable(side.run.blocks(case, side.driver)).items()}
        if relative:
            control = usable(side.run.blocks(case, side.run.control))
            own = {block: value - math.log(control[block].seconds) for block, value in own.items() if block in control}
        cells.append(own)
    shared = sorted(set.intersection(*(set(cell) for cell in cells))) if cells else []
    return {block: sum(cell[block] for cell in cells) / len(cells) for block in shared}


def _time_row(level: str, name: str, pair: tuple[Side, Side], cases: Sequence[CaseId], result: Result) -> Row | None:
    a, b = (_logs(side, cases, result.relative) for side in pair)
    if not a or not b:
        return None
    if result.paired:
        shared = sorted(set(a) & set(b))
        if not shared:
            return None
        a, b = {k: a[k] for k in shared}, {k: b[k] for k in shared}
        estimate = statistics.paired_log_ratio(np.array([b[k] - a[k] for k in shared]), result.a.body["run_id"])
    else:
        estimate = statistics.log_shift(np.array(list(a.values())), np.array(list(b.values())))
    middle = [math.exp(float(np.median(list(values.values())))) for values in (a, b)]
    return Row(level, name, pair[1].name, "real_time", "1" if result.relative else "s", *middle, estimate.exp(), (len(a), len(b)))


def time_verdict(ratio: Estimate, adjusted_p: float | None, floor: float = FLOOR, precision: float = PRECISION) -> str:
    """slower or faster: significant after correction and beyond `floor`; no difference: none of `precision` fits the interval."""
    significant = adjusted_p is not None and adjusted_p <= 1 - statistics.CONFIDENCE
    effect = math.log(ratio.value)
    if significant and abs(effect) > math.log1p(floor):
        return "slower" if effect > 0 else "faster"
    within = ratio.high < 1 + precision and ratio.low > 1 / (1 + precision)
    return "no difference" if within and ratio.kind == "ci95" else "unstable"


def _decide(rows: Sequence[Row], result: Result) -> None:
    """Benjamini-Hochberg over `rows`, then their verdicts."""
    tested = [row for row in rows if row.ratio and row.ratio.p is not None]
    for row, p in zip(tested, statistics.benjamini_hochberg([row.ratio.p for row in tested])):
        row.adjusted_p = p
    for row in rows:
        row.verdict = time_verdict(row.ratio, row.adjusted_p, result.floor, result.precision)


def exact_verdict(a: Sequence[float], b: Sequence[float], paired: bool, unit: str) -> str:
    """more or less when every block moved by more than 1 % and 1 MiB (or 1 unit); varies when only the medians did."""
    step = max(EXACT_SHARE * abs(float(np.median(a))), float(EXACT_FLOOR.get(unit, 1)))
    if min(len(a), len(b)) >= EXACT_BLOCKS_MIN:
        up = min(y - x for x, y in zip(a, b)) if paired else min(b) - max(a)
        down = min(x - y for x, y in zip(a, b)) if paired else min(a) - max(b)
        if up > step:
            return "more"
        if down > step:
            return "less"
    return "varies" if abs(float(np.median(b) - np.median(a))) > step else "same"


def _exact_rows(pair: tuple[Side, Side], case: CaseId, result: Result, definitions: dict) -> list[Row]:
    """Comparisons of the gated counts that both sides have."""
    found = []
    first, second = (side.run.blocks(case, side.driver) for side in pair)
    blocks = (sorted(set(first) & set(second)),) * 2 if result.paired else (sorted(first), sorted(second))
    for metric, definition in definitions.items():
        a = [first[k].metrics[metric] for k in blocks[0] if metric in first[k].metrics]
        b = [second[k].metrics[metric] for k in blocks[1] if metric in second[k].metrics]
        if not a or not b or (result.paired and len(a) != len(b)):
            continue
        found.append(Row("case", case.key, pair[1].name, metric, definition["unit"], float(np.median(a)), float(np.median(b)), None,
                         (len(a), len(b)), exact_verdict(a, b, result.paired, definition["unit"])))
    return found


def _power_caution(result: Result) -> str | None:
    """Said when no single case can reach significance with these blocks and so many comparisons."""
    timed = [row for row in result.timed("case") if row.ratio and row.ratio.p is not None]
    if not timed:
        return "too few blocks for any claim about times: 6 a side where blocks pair, 4 where they do not"
    m, n = max(row.blocks for row in timed)
    least = 2 / 2 ** m if result.paired else 2 / math.comb(m + n, m)
    if least * len(timed) <= 1 - statistics.CONFIDENCE:
        return None
    return (f"with {m if result.paired else f'{m} and {n}'} blocks and {len(timed)} comparisons a single slower case cannot be told from chance; "
            "more blocks can, or --workload and --driver name fewer")


def _control_caution(result: Result, keep: Callable[[CaseId], bool]) -> str | None:
    """Said when the control itself moved: then the machine changed, whatever the drivers did."""
    a, b = (Side(run, run.control, "native") for run in (result.a, result.b))
    cases = [c for c in a.run.cases if keep(c) and usable(a.run.blocks(c, a.driver)) and usable(b.run.blocks(c, b.driver))]
    logs = [np.array(list(_logs(side, cases, False).values())) for side in (a, b)]
    if not all(len(values) for values in logs):
        return None
    moved = statistics.log_shift(*logs).exp()
    if moved.low <= 1 <= moved.high or abs(math.log(moved.value)) <= math.log1p(result.floor):
        return None
    return f"native itself took {moved.value:.2f} times as long in B: the machine changed; drivers are compared relative to it"


def _fill(result: Result, pairs: Sequence[tuple[Side, Side]], keep: Callable[[CaseId], bool]) -> None:
    definitions = {name: d for name, d in result.b.body["metric_defs"].items()
                   if d.get("gate") and d["noise"] != "sampled" and "expr" not in d}
    for pair in pairs:
        cases = [c for c in pair[0].run.cases if keep(c) and pair[0].run.blocks(c, pair[0].driver) and pair[1].run.blocks(c, pair[1].driver)]
        timed = pair[0].run.drivers[pair[0].driver].engine == pair[1].run.drivers[pair[1].driver].engine
        if timed and any(measure.inside(side.run) for side in pair):
            timed = False
            result.cautions.append(f"{pair[0].name} ran inside user-mode Linux, where times mean little: bytes and space are compared, times are not")
        elif not timed:
            result.cautions.append(f"{pair[0].name} and {pair[1].name} are of different engine classes: their times are not compared")
        by_workload: dict[str, list[CaseId]] = {}
        for case in cases:
            row = _time_row("case", case.key, pair, [case], result) if timed else None
            if row:
                result.rows.append(row)
                by_workload.setdefault(case.workload, []).append(case)
            result.rows += _exact_rows(pair, case, result, definitions)
        for workload, own in by_workload.items():
            row = _time_row("workload", workload, pair, own, result)
            if row:
                result.rows.append(row)
    for level in LEVELS:
        _decide(result.timed(level), result)


def compare(a: Run, b: Run, drivers: Sequence[str] = (), workloads: Sequence[str] = (), absolute: bool = False,
            floor: float = FLOOR, precision: float = PRECISION, paths: tuple[str, str] = ("A", "B")) -> Result:
    """Sets B against A. Raises ReportError where they must not be compared, NothingToReport where they share no case."""
    pairs = sides(a, b, drivers, paths)
    same = a.body["run_id"] == b.body["run_id"]
    like = likeness.compare([a, b])
    if like.refusals:
        raise ReportError("these runs do not compare: " + "; ".join(like.refusals))
    if absolute and not like.same_machine:
        raise ReportError("seconds of different hardware do not compare: leave --absolute out to compare ratios to native")
    relative = not same and not absolute
    result = Result(a, b, same, relative, floor, precision, cautions=list(like.cautions), differences=like.differences)
    if relative and not all(run.control in run.drivers and any(d == run.control for _, d in run.samples) for run in (a, b)):
        raise ReportError("a run without its native control compares in seconds only: add --absolute")

    def keep(case: CaseId) -> bool:
        named = not workloads or any(case.workload == w or case.workload.startswith(w + ".") for w in workloads)
        return named and case.workload in like.workloads and case.workload.split(".")[0] != HARNESS_FAMILY

    _fill(result, pairs, keep)
    if not result.rows:
        raise NothingToReport("A and B have no finished case in common")
    found = (_power_caution(result), _control_caution(result, keep) if relative and like.same_machine else None)
    result.cautions += [caution for caution in found if caution]
    return result
