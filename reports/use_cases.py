"""What people choose a driver for, and which workloads speak for it: read from use_cases.ini.

Weights stand in that file and beside every verdict, so that none is hidden.
"""

from __future__ import annotations

import configparser
import fnmatch
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import measure, text
from .comparison import Comparison, Ranking, adjust, metric_median, paired_ratio, rank
from .errors import UsageError
from .result_file import CaseId, Driver
from .statistics import Estimate

DEFAULT_PATH = Path(__file__).with_name("use_cases.ini")
_CONDITION = re.compile(r"^([a-z_]+)(>=|<=|=)(.+)$")
# Docker's own drivers that it no longer has: https://github.com/docker/cli/pull/4703 (2023-12-07).
REMOVED_FROM_DOCKER = {"aufs": "24.0", "overlay": "24.0", "devicemapper": "25.0"}
_KEYS = {"title", "question", "cases", "per_container", "prepare_timed"}


@dataclass(frozen=True)
class Selector:
    """One line of `cases`: a weight, a workload (with `*`), and conditions (parameter, operator, value)."""

    weight: float
    workload: str
    conditions: tuple[tuple[str, str, str], ...]

    def fits(self, case: CaseId) -> bool:
        """Whether the line speaks of `case`; a case without the parameter does not fit."""
        return fnmatch.fnmatchcase(case.workload, self.workload) and all(self._holds(case, *c) for c in self.conditions)

    @staticmethod
    def _holds(case: CaseId, name: str, operator: str, value: str) -> bool:
        own, size, bound = case.param(name), case.size(name), text.parse_size(value)
        if own is None:
            return False
        if operator == "=":
            return own.lower() == value.lower() or (size is not None and size == bound)
        if size is None or bound is None:
            return False
        return size >= bound if operator == ">=" else size <= bound

    def words(self) -> str:
        """'copy_up.first_write size>=16M'."""
        return " ".join([self.workload, *(f"{name}{operator}{value}" for name, operator, value in self.conditions)])


@dataclass(frozen=True)
class UseCase:
    """`per_container`: the price list shows memory and space of one container; `prepare_timed`: see use_cases.ini."""

    key: str
    title: str
    question: str
    selectors: tuple[Selector, ...]
    per_container: bool = False
    prepare_timed: bool = True

    def weights(self, cases: Iterable[CaseId]) -> dict[CaseId, float]:
        """The cases that speak for it, with their weights."""
        chosen = [(case, selector) for case in cases if (selector := next((s for s in self.selectors if s.fits(case)), None))]
        counts: dict[tuple[Selector, str], int] = {}
        for case, selector in chosen:
            counts[selector, case.workload] = counts.get((selector, case.workload), 0) + 1
        return {case: selector.weight / counts[selector, case.workload] for case, selector in chosen}

    def disqualifies(self, driver: Driver) -> str:
        """Why `driver` is no candidate here although it may be fast; "" when it is one."""
        if driver.copies_at_prepare and not self.prepare_timed:
            return "copies the whole image whenever a container is made, outside these times"
        if driver.drops_syncs and not self.prepare_timed:
            return "drops every sync: a crash loses what these times call written"
        return ""


def _selector(line: str, place: str) -> Selector:
    words = line.split()
    try:
        weight = float(words[0])
        conditions = tuple(_CONDITION.match(word).groups() for word in words[2:])
        if not weight > 0 or not re.fullmatch(r"[a-z0-9_.*]+", words[1]):
            raise ValueError(line)
    except (ValueError, IndexError, AttributeError):
        raise UsageError(f"{place}: '{text.plain(line)}' is not WEIGHT WORKLOAD [PARAM=VALUE …] with a weight above 0") from None
    return Selector(weight, words[1], conditions)


def load(path: Path = DEFAULT_PATH) -> tuple[UseCase, ...]:
    """The use cases of a file, in its order. Raises UsageError naming the section that is wrong."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";", "#"))
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        found = []
        for key in parser.sections():
            section, place = parser[key], f"{path} [{text.plain(key)}]"
            unknown = sorted(set(section) - _KEYS)
            if unknown or not section.get("title") or not section.get("cases", "").strip():
                raise UsageError(f"{place}: {'unknown key ' + text.plain(unknown[0]) if unknown else 'needs a title and cases'}")
            selectors = tuple(_selector(line, place) for line in section["cases"].strip().splitlines() if line.strip())
            found.append(UseCase(key, section["title"], section.get("question", ""), selectors,
                                 section.getboolean("per_container", False), section.getboolean("prepare_timed", True)))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} is no use-case file: {text.plain(str(error))[:160]}") from None
    if not found:
        raise UsageError(f"{path} has no use case; see {DEFAULT_PATH}")
    return tuple(found)


@dataclass
class Verdict:
    """One use case in one engine class, in words."""

    use_case: UseCase
    engine: str
    ranking: Ranking
    shares: dict[str, float]  # workload → its share of the weight, over the cases that count
    set_aside: tuple[tuple[str, str, Estimate | None], ...] = ()  # slug, reason, its time over the best's

    @property
    def workloads(self) -> tuple[str, ...]:
        """Those that count."""
        return tuple(self.shares)

    @property
    def cells(self) -> int:
        """Cases that count: those every driver finished."""
        return len(self.ranking.common)


def _verdict(comparison: Comparison, use_case: UseCase, engine: str, excluded: Mapping[str, str]) -> Verdict:
    run = comparison.run
    weights = use_case.weights(comparison.cases)
    reasons = {d: excluded.get(d) or use_case.disqualifies(run.drivers[d]) for d in run.ranked_in(engine)}
    ranking = rank(run, tuple(weights), engine, weights, [d for d, reason in reasons.items() if not reason])
    aside = tuple((d, reason, paired_ratio(run, weights, d, ranking.best, weights))
                  for d, reason in reasons.items() if reason and ranking.best)
    shares: dict[str, float] = {}
    for case in ranking.common:
        shares[case.workload] = shares.get(case.workload, 0.0) + weights[case]
    total = sum(shares.values())
    return Verdict(use_case, engine, ranking, {workload: share / total for workload, share in shares.items()}, aside)


def verdicts(comparison: Comparison, chosen: Sequence[UseCase] | None = None, excluded: Mapping[str, str] | None = None) -> list[Verdict]:
    """All use cases (or those `chosen`), engine class by engine class; those without a case here have an empty ranking.

    `excluded`: slug → why a driver is no candidate anywhere.
    """
    chosen = load() if chosen is None else chosen
    found = [_verdict(comparison, use_case, engine, excluded or {}) for engine in comparison.run.engines for use_case in chosen]
    adjust(verdict.ranking for verdict in found)
    return found


def weight_words(verdict: Verdict) -> str:
    """'layer_build.pull 67 %, layer_build.diff 33 %'; equal shares are said once."""
    if len(verdict.shares) > 1 and max(verdict.shares.values()) - min(verdict.shares.values()) < 1e-9:
        return f"{', '.join(verdict.shares)}; equal weights"
    return ", ".join(f"{workload} {100 * share:.0f} %" for workload, share in verdict.shares.items())


def set_aside_words(comparison: Comparison, verdict: Verdict) -> list[str]:
    """'vfs (0.73× the fastest) copies …' for each driver that is no candidate."""
    best = "the fastest" if measure.kind(comparison.run) == measure.TIME else "the device bytes of the best"
    return [f"{comparison.run.label(slug)}{f' ({text.ratio(e.value)}× {best})' if e else ''} {reason}"
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
    unsteady = "times unsteady" if measured[0].measured == measure.TIME else "device bytes unsteady"
    tail = f"; {unsteady}" if shaky else ""
    return f"{base}{tail}; {blocks} block{'s' if blocks != 1 else ''}" + ("" if enough else ", no inference")


def mark(verdict: Verdict) -> tuple[str, str]:
    """How sure, for a glance: (kind, words); kinds are sure, tie, hint and none."""
    ranking = verdict.ranking
    measured = [s for s in ranking.standings.values() if s.seconds]
    if len(measured) < 2:
        return ("none", "nothing to compare" if measured else "no data")
    if not ranking.inference:
        return ("hint", "a hint: too few blocks")
    if ranking.ties:
        return ("tie", "tie: choose by price")
    return ("sure", "sure; times vary" if any(s.unstable for s in measured if s.verdict == "best") else "sure")


def margin(verdict: Verdict) -> str:
    """The runner-up and its distance."""
    second = verdict.ranking.runner_up
    if second is None:
        return "–"
    e = second.to_best
    return f"{text.ratio(e.value)}× [{text.ratio(e.low)}–{text.ratio(e.high)}]"


def removed_words(driver: Driver) -> str:
    """'Docker has no such driver since 25.0'; "" where it has."""
    removed = REMOVED_FROM_DOCKER.get(driver.name)
    return f"Docker has no such driver since {removed}" if removed else ""


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
    """What choosing `driver` costs: device bytes against the thriftiest, its worst case, memory and space, and whether an engine still has it."""
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
    everybody = set(verdict.ranking.standings) == set(comparison.run.ranked_in(verdict.engine))
    for case in verdict.ranking.common:
        among = comparison.by_case[verdict.engine][case.key] if everybody else rank(comparison.run, (case,), verdict.engine, drivers=list(verdict.ranking.standings))
        standing = among.standings[driver]
        if standing.to_best and (worst is None or standing.to_best.value > worst[0]):
            worst = (standing.to_best.value, case)
    if worst and worst[0] > 1.1:
        lines.append(f"at worst {text.ratio(worst[0])}× the best, in {worst[1].key}")
    if verdict.use_case.per_container:
        for metric, words in (("page_cache_bytes_per_container", "page cache"), ("space_bytes_per_container", "space")):
            values = per_container(comparison, verdict.ranking, metric)
            if driver in values:
                lines.append(f"{text.human_bytes(values[driver])} {words} per container")
    removed = removed_words(comparison.run.drivers[driver])
    return lines + ([removed] if removed else [])


def prices(comparison: Comparison, verdict: Verdict) -> list[tuple[str, list[str]]]:
    """(label, price list) of the best and of every driver tied with it, who writes least first: a tie is chosen by price."""
    ranking, written = verdict.ranking, device_bytes(comparison, verdict.ranking)
    winners = sorted([ranking.best, *ranking.ties] if ranking.best else [], key=lambda d: written.get(d, math.inf))
    return [(comparison.run.label(driver), price(comparison, verdict, driver)) for driver in winners]


def price_words(comparison: Comparison, verdict: Verdict) -> str:
    """The same on one line."""
    found = prices(comparison, verdict)
    return " · ".join((f"{label}: " if len(found) > 1 else "") + "; ".join(lines) for label, lines in found if lines)
