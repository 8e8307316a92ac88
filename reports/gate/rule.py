"""The decision rule of METHOD d.2, one series and one night at a time. Knows numbers only: no files, no words.

A reading is a night's location of ln seconds, seen two ways: divided by the control's time
in the same blocks, so that a slow machine cancels; or the night's fastest execution,
for operations shorter than a time slice: they do not feel the load that makes the control slow,
unless they are interrupted, and then not every time. A slowdown moves both. A series is
seen in the way that made its accepted nights agree best (its `view`). Larger is worse. The baseline is frozen while something is wrong: a night enters it only
when nothing about it is suspicious, or a slow regression would teach the gate to accept it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import statistics

MAD_TO_SIGMA = 1.4826
PAIRED, FASTEST = "paired", "fastest"
SLICE_S = 0.005  # longer operations are interrupted in every block of a busy machine
VIEW_GAIN = 0.9  # the fastest block must make the nights agree better by this factor
Z_DETECT = 3.42  # z(0.995) + z(0.8): alpha 0.005, power 0.8 (METHOD d.5)


@dataclass(frozen=True)
class Rule:
    """The defaults of METHOD d.2 in one place."""

    window: int = 40  # accepted nights in a baseline
    full: int = 20  # nights for gating
    provisional: int = 8  # nights for warnings
    prior: float = 10.0  # weight of the spread common to all series
    floor: float = 0.01  # no series is steadier than this
    suspect: float = 2.5
    fast: float = 6.0
    fast_effect: float = 0.08
    slack: float = 1.0  # k of the CUSUM
    limit: float = 6.0  # h of the CUSUM
    clip: float = 4.0
    effect: float = 0.03
    calm: float = 1.0  # a CUSUM above it keeps a night out of the baseline
    shift_controls: float = 0.25
    shift_drivers: float = 0.50
    quarantine: float = 0.25  # a series that detects only larger changes is reported, not gated
    shift_series: int = 2  # fewer series than this are no shift of the environment
    exact_share: float = 0.01
    exact_varies: float = 0.10  # share of baseline nights off the reference: not exact enough to gate


RULE = Rule()


@dataclass(frozen=True)
class Reading:
    """ln seconds in two views, and the night's own standard error of the first, from its blocks."""

    paired: float
    fastest: float
    error: float = 0.0

    def at(self, view: str) -> float:
        return self.paired if view == PAIRED else self.fastest

    def slowed(self, effect: float) -> "Reading":
        """The reading of the same night had everything in it taken exp(effect) times as long."""
        return Reading(self.paired + effect, self.fastest + effect, self.error)


@dataclass(frozen=True)
class Baseline:
    """Of one series: median, scale and number of accepted nights."""

    centre: float
    scale: float
    nights: int
    view: str = PAIRED
    error: float = 0.0  # a usual night's standard error

    def judge(self, reading: Reading) -> tuple[float, float]:
        """(z, effect) of a night; one whose blocks disagree with the control's more than usual counts for less."""
        effect = reading.at(self.view) - self.centre
        excess = max(0.0, reading.error**2 - self.error**2) if self.view == PAIRED else 0.0
        return effect / math.sqrt(self.scale**2 + excess), effect

    @property
    def detectable(self) -> float:
        """Smallest relative change one night detects with 80 % power (METHOD d.5); `scale` holds the baseline's own uncertainty."""
        return math.expm1(min(Z_DETECT * self.scale, 50.0))


def pooled(own: float, nights: int, common: float, rule: Rule = RULE) -> float:
    """The scale of a series: its own drawn towards the machine's, never below the floor, widened for a short baseline.

    The machine's counts for at most half again and at least two thirds of the series' own: steady and
    noisy series of one machine lie a factor of ten apart, and one pool would blind the steady ones.
    """
    common = min(max(common, own / 1.5), 1.5 * own)
    variance = (rule.prior * common**2 + (nights - 1) * own**2) / (rule.prior + nights - 1)
    return max(math.sqrt(variance), rule.floor) * math.sqrt(1 + 1.57 / nights)


@dataclass(frozen=True)
class Shift:
    """Why the environment moved in a night, "" when it did not, and the views in which no series is judged then."""

    why: str = ""
    views: tuple[str, ...] = ()


@dataclass
class Outcome:
    """One series in one night. `status`: learning, warned, noisy, ok, suspect, regressed, improved, shifted or invalid."""

    value: float
    status: str = "learning"
    z: float | None = None
    effect: float | None = None  # ln; of the less bad measurement once confirmed
    first_z: float | None = None  # before confirmation
    confirmed: float | None = None  # the rerun's value
    path: str = ""  # fast or cusum, of an alarm that is new
    accepted: bool = False
    cusum: float = 0.0
    baseline: Baseline | None = None
    since: int | None = None  # night index at which the regression began


@dataclass
class Series:
    """What the rule remembers of one timed series."""

    readings: list[tuple[int, Reading]] = field(default_factory=list)  # of every valid night of the segment
    accepted: list[Reading] = field(default_factory=list)
    cusum: float = 0.0
    excess: list[tuple[int, float]] = field(default_factory=list)  # (night, effect) since the CUSUM left zero
    better: float = 0.0
    gains: list[float] = field(default_factory=list)
    alarmed_since: int | None = None
    _agreed: tuple[int, tuple[str, np.ndarray]] | None = None  # for so many accepted nights

    def agreed(self, window: int) -> tuple[str, np.ndarray]:
        """(view, the accepted nights' values in it), over the last `window` nights."""
        if self._agreed is None or self._agreed[0] != len(self.accepted):
            paired, fastest = (np.array([r.at(view) for r in self.accepted[-window:]]) for view in (PAIRED, FASTEST))
            better = len(paired) > 0 and math.exp(float(np.median(fastest))) < SLICE_S and statistics.mad(fastest) < VIEW_GAIN * statistics.mad(paired)
            self._agreed = (len(self.accepted), (FASTEST, fastest) if better else (PAIRED, paired))
        return self._agreed[1]

    def restart(self, readings: Sequence[tuple[int, Reading]] = ()) -> None:
        """A new segment that begins with `readings`."""
        self.readings = list(readings)
        self.accepted = [reading for _, reading in readings]
        self._agreed = None
        self.cusum = self.better = 0.0
        self.excess, self.gains = [], []
        self.alarmed_since = None


def change_point(values: Sequence[float], least: int = 1) -> int:
    """Where two medians fit `values` best (least absolute error): index of the second segment's first value; both have `least` values."""
    data = np.asarray(values, float)
    if len(data) < 2 * least:
        return len(data)

    def cost(part: np.ndarray) -> float:
        return float(np.sum(np.abs(part - np.median(part))))

    return min(range(least, len(data) - least + 1), key=lambda i: (cost(data[:i]) + cost(data[i:]), i))


class Panel:
    """All timed series of one machine, stepped night by night in order."""

    def __init__(self, rule: Rule = RULE) -> None:
        self.rule = rule
        self.series: dict[str, Series] = {}
        self.controls: dict[str, Series] = {}
        self.night = -1

    def baselines(self, group: Mapping[str, Series]) -> dict[str, Baseline]:
        """Of every series with enough nights; scales are pooled over the group."""
        rule = self.rule
        seen = {name: series.agreed(rule.window) for name, series in group.items()}
        seen = {name: (view, values) for name, (view, values) in seen.items() if len(values) >= rule.provisional}
        own = {name: MAD_TO_SIGMA * statistics.mad(values) for name, (_, values) in seen.items()}
        common = float(np.median(list(own.values()))) if own else 0.0
        return {name: Baseline(float(np.median(values)), pooled(own[name], len(values), common, rule), len(values), view,
                               float(np.median([reading.error for reading in group[name].accepted[-rule.window:]])))
                for name, (view, values) in seen.items()}

    def shifted(self, values: Mapping[str, Reading], controls: Mapping[str, Reading]) -> Shift:
        """Step 1: whether the whole environment moved tonight. Looks, changes nothing.

        Where only the control moved, a series that is not read through it is judged all the same,
        unless most of its kind moved too.
        """
        rule, baselines = self.rule, self.baselines(self.series)
        moves = {name: self._move(baselines[name], reading) for name, reading in values.items()
                 if name in baselines and baselines[name].detectable <= rule.quarantine}

        def together(names: Iterable[str]) -> str:
            own = [moves[name] for name in names]
            count = max(own.count(1), own.count(-1))
            return f"{count} of {len(own)} driver series moved the same way" if count >= rule.shift_series and count > rule.shift_drivers * len(own) else ""

        known = self.baselines(self.controls)
        own = [self._move(known[name], reading) for name, reading in controls.items() if name in known and known[name].nights >= rule.full]
        moved = sum(map(bool, own))
        if moved >= rule.shift_series and moved > rule.shift_controls * len(own):
            apart = [name for name in moves if baselines[name].view == FASTEST]
            words = f"{moved} of {len(own)} control series moved"
            return Shift(words, (PAIRED, FASTEST)) if together(apart) else Shift(words, (PAIRED,))
        words = together(moves)
        return Shift(words, (PAIRED, FASTEST)) if words else Shift()

    def _move(self, baseline: Baseline, reading: Reading) -> int:
        """1 slower, -1 faster, 0 neither beyond doubt."""
        z, effect = baseline.judge(reading)
        return 0 if abs(z) <= self.rule.suspect or abs(effect) <= self.rule.effect else 1 if z > 0 else -1

    def suspects(self, values: Mapping[str, Reading], controls: Mapping[str, Reading]) -> list[str]:
        """Series to measure again tonight: z above the limit with a baseline that gates or warns."""
        shift, found = self.shifted(values, controls), []
        for name, baseline in self.baselines(self.series).items():
            known = self.series[name].alarmed_since is not None or baseline.detectable > self.rule.quarantine
            if name in values and not known and baseline.view not in shift.views and baseline.judge(values[name])[0] > self.rule.suspect:
                found.append(name)
        return found

    def step(self, values: Mapping[str, Reading], controls: Mapping[str, Reading], reruns: Mapping[str, Reading] | None = None,
             valid: bool = True, learn: bool = True) -> tuple[str, dict[str, Outcome]]:
        """One night: (why the environment shifted or "", outcome of every series). `reruns` are confirmations.

        An invalid night is looked at by nobody; with `learn` false (a slowdown made on purpose)
        it is judged and stays out of every baseline.
        """
        self.night += 1
        shift = self.shifted(values, controls) if valid else Shift()
        baselines = self.baselines(self.series)
        outcomes = {}
        for name, reading in values.items():
            series, baseline = self.series.setdefault(name, Series()), baselines.get(name)
            outcome = outcomes[name] = Outcome(reading.at(baseline.view if baseline else PAIRED), baseline=baseline)
            if not valid:
                outcome.status = "invalid"
                continue
            series.readings.append((self.night, reading))
            if shift.why and (baseline is None or baseline.view in shift.views):
                outcome.status, outcome.cusum, outcome.since = "shifted", series.cusum, series.alarmed_since
                continue
            self._judge(series, outcome, reading, (reruns or {}).get(name))
            if learn and outcome.accepted:
                series.accepted.append(reading)
        if valid and not shift.why and learn:
            for name, reading in controls.items():
                self.controls.setdefault(name, Series()).accepted.append(reading)
        return shift.why, outcomes

    def _judge(self, series: Series, outcome: Outcome, reading: Reading, rerun: Reading | None) -> None:
        rule, baseline = self.rule, outcome.baseline
        if baseline is None:
            outcome.accepted = True
            return
        outcome.z, outcome.effect = baseline.judge(reading)
        outcome.first_z = outcome.z
        if outcome.z > rule.suspect and rerun is not None:
            again = baseline.judge(rerun)
            outcome.confirmed = rerun.at(baseline.view)
            outcome.z, outcome.effect = min(outcome.z, again[0]), min(outcome.effect, again[1])
        noisy = baseline.detectable > rule.quarantine
        gating = baseline.nights >= rule.full and not noisy
        self._accumulate(series, outcome, gating)
        outcome.cusum = series.cusum
        fast = outcome.z > rule.fast and outcome.effect > math.log1p(rule.fast_effect)
        slow = series.cusum > rule.limit and float(np.mean([e for _, e in series.excess])) > math.log1p(rule.effect)
        suspect = outcome.z > rule.suspect
        if series.alarmed_since is not None:
            outcome.status, outcome.since = "regressed", series.alarmed_since
        elif gating and ((fast and outcome.confirmed is not None) or slow):
            recent = [(night, reading.at(baseline.view)) for night, reading in series.readings[-60:]]
            series.alarmed_since = outcome.since = self._began(series, recent)
            outcome.status, outcome.path = "regressed", "fast" if fast and outcome.confirmed is not None else "cusum"
        elif noisy:
            outcome.status = "noisy"
        elif not gating:
            outcome.status = "warned" if suspect else "learning"
        elif suspect:
            outcome.status = "suspect"
        elif series.better > rule.limit and float(np.mean(series.gains)) > math.log1p(rule.effect):
            outcome.status = "improved"
        else:
            outcome.status = "ok"
        outcome.accepted = series.alarmed_since is None and series.cusum <= rule.calm and outcome.z < rule.suspect

    def _accumulate(self, series: Series, outcome: Outcome, gating: bool) -> None:
        """Step 4 and its mirror; a baseline that does not gate yet keeps both at zero."""
        rule = self.rule
        if not gating:
            series.cusum = series.better = 0.0
            series.excess, series.gains = [], []
            return
        top = rule.suspect if outcome.z > rule.suspect and outcome.confirmed is None else rule.clip  # what no rerun confirmed is a suspicion
        clipped = min(max(outcome.z, -rule.clip), top)
        series.cusum = max(0.0, series.cusum + clipped - rule.slack)
        series.excess = [*series.excess, (self.night, outcome.effect)] if series.cusum > 0 else []
        series.better = max(0.0, series.better - clipped - rule.slack)
        series.gains = [*series.gains, -outcome.effect] if series.better > 0 else []

    def _began(self, series: Series, recent: Sequence[tuple[int, float]]) -> int:
        """Night index of the regression's first night: the change point among the nights the CUSUM has not forgotten."""
        start = recent[change_point([value for _, value in recent])][0] if len(recent) > 1 else self.night
        first = series.excess[0][0] if series.excess else self.night
        return min(max(start, first), self.night)

    def accept_level(self, name: str) -> None:
        """An acknowledged regression: the new segment begins where it began, with what was seen since."""
        series = self.series[name]
        start = series.alarmed_since if series.alarmed_since is not None else (series.readings[-1][0] if series.readings else 0)
        series.restart([each for each in series.readings if each[0] >= start])

    def forget(self, name: str) -> None:
        """A new segment that begins with the next night."""
        self.series[name].restart()


@dataclass
class ExactOutcome:
    """A count in one night. `status`: learning, varies, ok, regressed, improved, shifted or invalid."""

    median: float
    least: float
    most: float
    status: str = "learning"
    reference: float | None = None
    step: float | None = None
    new: bool = False
    since: int | None = None


@dataclass
class ExactSeries:
    """What the rule remembers of one exact metric (step 5)."""

    unit_floor: float
    accepted: list[float] = field(default_factory=list)  # medians of nights
    alarmed_since: int | None = None
    since_alarm: list[float] = field(default_factory=list)

    def step(self, night: int, values: Sequence[float], valid: bool, learn: bool, rule: Rule = RULE) -> ExactOutcome:
        """One night's values of all blocks."""
        data = np.asarray(values, float)
        outcome = ExactOutcome(float(np.median(data)), float(data.min()), float(data.max()))
        if not valid:
            outcome.status = "invalid"
            return outcome
        recent = self.accepted[-rule.window:]
        accepted = True
        if len(recent) >= rule.provisional:
            reference = outcome.reference = float(np.median(recent))
            step = outcome.step = max(rule.exact_share * abs(reference), self.unit_floor)
            off = sum(abs(value - reference) > step for value in recent) / len(recent)
            if self.alarmed_since is not None:
                outcome.status, accepted = "regressed", False
            elif off > rule.exact_varies:
                outcome.status = "varies"
            elif outcome.least > reference + step:
                outcome.status, outcome.new, accepted = "regressed", True, False
                self.alarmed_since = night
            elif outcome.most < reference - step:
                outcome.status = "improved"
            else:
                outcome.status = "ok"
        outcome.since = self.alarmed_since
        if accepted and learn:
            self.accepted.append(outcome.median)
        elif not accepted:
            self.since_alarm.append(outcome.median)
        return outcome

    def restart(self, keep_level: bool) -> None:
        """A new reference: from the nights since the alarm (`keep_level`), or from the nights to come."""
        self.accepted = self.since_alarm if keep_level else []
        self.since_alarm, self.alarmed_since = [], None
