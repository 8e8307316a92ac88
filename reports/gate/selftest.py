"""Measures the gate itself by the recipes of METHOD d.6: false alarms on nights of which nothing changed, and detection power.

Three sources, never mixed: a walk forward over the real nights; synthetic nights drawn from
them in blocks of five, which keeps the correlation of neighbours; and slowdowns. Multiplying
every sample of a night by 1.1 adds ln 1.1 to its reading, so power is measured on readings:
that is *replay-time scaling*. Slowdowns that really happened while a night was recorded
(`sbench run --inject`) are judged by the ordinary replay and listed as *injected*.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..history.night import Night
from .replay import Replay, control_levels, measure, replay
from .rule import RULE, Panel, Reading

BLOCK = 5  # neighbouring nights drawn together
SEQUENCE = 60  # synthetic nights in a row; the baseline comes out of the first
EFFECTS = (0.05, 0.10, 0.20)
WITHIN = (1, 3, 7, 14)
TARGETS = {(0.20, 1): 0.90, (0.10, 3): 0.85, (0.10, 7): 0.95, (0.05, 14): 0.90}  # METHOD d.5
FALSE_ALARMS_MAX = 0.03  # upper bound that METHOD d.6 lets pass
POWER_MIN = 0.90  # of 10 % within 7 nights
NIGHTS_MIN = RULE.full + 2


@dataclass(frozen=True)
class Drawn:
    """What the rule sees of a real night; nights that are unfit are not drawn."""

    readings: dict[str, Reading]
    controls: dict[str, Reading]


@dataclass
class Power:
    """Of one series: share of repetitions that found the effect within so many nights."""

    series: str
    detectable: float | None
    gated: bool
    found: dict[tuple[float, int], float] = field(default_factory=dict)


@dataclass
class Selftest:
    """Everything measured."""

    nights: int
    gated: int  # real nights on which at least one series could alarm
    shifted: int
    unfit: int
    alarms: list[tuple[str, str]]  # (date, series) of the walk forward
    synthetic: int
    synthetic_gated: int
    synthetic_shifted: int
    synthetic_alarms: int  # nights with at least one
    power: list[Power]
    injected: list[tuple[str, str, list[str], str]]  # (date, what was injected, alarms, verdict's word), one a night

    @property
    def missed(self) -> list[str]:
        """Injections that no night of theirs raised an alarm for, in a series they name."""
        def hit(what: str, alarms: Sequence[str]) -> bool:
            return any(re.search(what.rpartition("=")[0].lower(), name.lower()) for name in alarms)

        every = dict.fromkeys(what for _, what, _, _ in self.injected)
        return [what for what in every if not any(hit(what, alarms) for _, own, alarms, _ in self.injected if own == what)]

    @property
    def real_bound(self) -> float:
        return upper_bound(len({date for date, _ in self.alarms}), self.gated)

    @property
    def synthetic_bound(self) -> float:
        return upper_bound(self.synthetic_alarms, self.synthetic_gated)

    @property
    def fit(self) -> bool:
        """METHOD d.6: the A/A bound is at most 3 %, every gated series shows 10 % within 7 nights 90 % of the time, and what was injected was found."""
        gated = [p for p in self.power if p.gated]
        return bool(gated) and not self.alarms and not self.missed and self.synthetic_bound <= FALSE_ALARMS_MAX and all(p.found[(0.10, 7)] >= POWER_MIN for p in gated)


def upper_bound(events: int, trials: int) -> float:
    """One-sided 95 % Clopper-Pearson bound of a share."""
    from scipy.stats import beta

    return 1.0 if trials == 0 or events >= trials else float(beta.ppf(0.95, events + 1, trials - events))


def _seen(replayed: Replay) -> list[Drawn]:
    levels: dict[str, float] = {}
    found = []
    for judged in replayed.nights:
        readings = {name: m.reading for name, m in measure(judged.night, levels).items()}
        if not judged.invalid and not judged.night.injected:
            found.append(Drawn(readings, control_levels(judged.night)))
    return found


def _gating(outcomes: dict) -> bool:
    return any(o.baseline and o.baseline.nights >= RULE.full and o.status != "noisy" for o in outcomes.values())


def _draw(pool: Sequence[Drawn], length: int, rng: np.random.Generator) -> list[int]:
    """Indices of `length` nights in blocks of neighbours."""
    found: list[int] = []
    while len(found) < length:
        start = int(rng.integers(0, max(len(pool) - BLOCK + 1, 1)))
        found += range(start, min(start + BLOCK, len(pool)))
    return found[:length]


def _neighbour(pool: Sequence[Drawn], index: int, rng: np.random.Generator) -> Drawn:
    """The night beside: it stands for a rerun, which shares the hour and draws its noise anew."""
    beside = [i for i in (index - 1, index + 1) if 0 <= i < len(pool)]
    return pool[int(rng.choice(beside))] if beside else pool[index]


def _step(panel: Panel, pool: Sequence[Drawn], index: int, rng: np.random.Generator, slowed: Sequence[str] = (), effect: float = 0.0) -> tuple[str, dict]:
    """One synthetic night, with its rerun; `slowed` series take 1 + effect times as long in both."""
    add = math.log1p(effect)

    def shown(drawn: Drawn) -> dict[str, Reading]:
        return {n: r.slowed(add) if n in slowed else r for n, r in drawn.readings.items()}

    return panel.step(shown(pool[index]), pool[index].controls, shown(_neighbour(pool, index, rng)), True, True)


def false_alarms(pool: Sequence[Drawn], nights: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """(nights on which something could alarm, of them shifted, nights with a false alarm) of about `nights` synthetic ones."""
    gated = shifted = alarmed = 0
    while gated < nights:
        panel = Panel()
        for index in _draw(pool, SEQUENCE + RULE.full, rng):
            shift, outcomes = _step(panel, pool, index, rng)
            if _gating(outcomes):
                gated += 1
                shifted += bool(shift)
                new = [n for n, o in outcomes.items() if o.path]
                alarmed += bool(new)
                for name in new:
                    panel.accept_level(name)
            if gated >= nights:
                break
    return gated, shifted, alarmed


def power(pool: Sequence[Drawn], repetitions: int, rng: np.random.Generator) -> list[Power]:
    """Detection of every effect in every series; at most two fifths of the series are slowed at once, or the environment would be blamed."""
    names = sorted({n for d in pool for n in d.readings})
    whole = Panel()
    for drawn in pool:
        whole.step(drawn.readings, drawn.controls)
    baselines = whole.baselines(whole.series)
    found = {n: Power(n, baselines[n].detectable if n in baselines else None, n in baselines and baselines[n].detectable <= RULE.quarantine) for n in names}
    at_once = max(1, int(0.4 * len(names)))
    groups = [names[i::-(-len(names) // at_once)] for i in range(-(-len(names) // at_once))]
    counts = {(n, e, w): 0 for n in names for e in EFFECTS for w in WITHIN}
    for _ in range(repetitions):
        before = Panel()
        for index in _draw(pool, RULE.window + 5, rng):
            _step(before, pool, index, rng)
        for series in before.series.values():
            if series.alarmed_since is not None:
                series.restart([(i, r) for i, r in enumerate(series.accepted)])
        for group in groups:
            for effect in EFFECTS:
                panel, open_ones = copy.deepcopy(before), set(group)
                for night, index in enumerate(_draw(pool, max(WITHIN), rng), 1):
                    _, outcomes = _step(panel, pool, index, rng, group, effect)
                    for name in [n for n in open_ones if n in outcomes and outcomes[n].path]:
                        open_ones.discard(name)
                        for within in WITHIN:
                            counts[(name, effect, within)] += night <= within
                    if not open_ones:
                        break
    for (name, effect, within), count in counts.items():
        found[name].found[(effect, within)] = count / repetitions
    return list(found.values())


def run(nights: Sequence[Night], decisions: Sequence = (), synthetic: int = 1000, repetitions: int = 40, seed: int = 1) -> Selftest:
    """Measures everything on one stream of nights. Nights injected on purpose are judged each after all the others."""
    from .verdict import Verdict

    real = [n for n in nights if not n.injected]
    replayed = replay(real, decisions)
    pool = _seen(replayed)
    rng = np.random.default_rng(seed)
    gated, shifted, alarmed = false_alarms(pool, synthetic, rng) if synthetic else (0, 0, 0)
    injected = []
    for what in dict.fromkeys(n.injected for n in nights if n.injected):
        own = [n for n in nights if n.injected == what]
        for last in range(len(own)):
            judged = replay([*real, *own[: last + 1]], decisions)
            injected.append((own[last].date, what, judged.nights[-1].new_alarms, Verdict(judged).word))
    return Selftest(len(real), sum(_gating(j.timed) for j in replayed.nights), sum(bool(j.shift) for j in replayed.nights), sum(bool(j.invalid) for j in replayed.nights),
                    [(j.night.date, name) for j in replayed.nights for name in j.new_alarms], synthetic, gated, shifted, alarmed, power(pool, repetitions, rng), injected)
