"""What the gate says of the newest night: one verdict, its exit code, and for each alarm the facts a person acts on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .. import errors, likeness, text
from ..history.night import Night, gated_metrics
from .replay import BLOCKS_MIN, Judged, Replay
from .rule import RULE, ExactOutcome, Outcome

GROUP_MIN = 3
_CHANGES_SHOWN = 6


@dataclass(frozen=True)
class Alarm:
    """A series that is red. `was`, `now`: seconds at the machine's reference speed, or the count."""

    series: str
    driver: str
    case: str
    metric: str  # real_time, or the count's name
    engine: str
    unit: str
    was: float
    now: float
    rerun: float | None  # change a rerun showed, as a ratio less 1
    since: Night
    nights: int  # it has lasted, this one included
    new: bool
    how: str  # what makes it sure
    changed: tuple[likeness.Difference, ...]
    night: Night

    @property
    def change(self) -> float:
        return self.now / self.was - 1 if self.was else math.inf

    def amount(self, value: float) -> str:
        if self.metric == "real_time":
            return text.human_time(value)
        return text.human_bytes(value) if self.unit == "B" else text.human_count(value)

    @property
    def headline(self) -> str:
        """'overlay2, layer_build.build/image:small: 21 % slower, 58 ms instead of 48 ms, since 2026-11-26 (first night)'."""
        size = f"{self.change * 100:.0f} %" if self.change >= 0.0995 else f"{self.change * 100:.1f} %"
        size = size if math.isfinite(self.change) else "from nothing"
        what = f"{size} slower" if self.metric == "real_time" else f"{size} more {self.metric}"
        lasted = "first night" if self.nights == 1 else f"{self.nights} nights"
        return (f"{self.driver}, {self.case}: {what}, {self.amount(self.now)} instead of {self.amount(self.was)}, "
                f"since {self.since.date[:16].replace('T', ' ')} ({lasted}{'' if self.new else ', known'})")

    @property
    def causes(self) -> list[str]:
        """What changed in the environment when it began."""
        rows = [f"{d.name}: {d.values[0]} → {d.values[1]}" for d in self.changed]
        more = len(rows) - _CHANGES_SHOWN
        return rows[:_CHANGES_SHOWN] + ([f"and {more} more"] if more > 0 else [])

    @property
    def repeat(self) -> str:
        """The command that measures it again."""
        label = next((d["label"] for d in self.night.facts["drivers"] if d["slug"] == self.driver), self.driver)
        return f"sbench run --driver {label} --filter '{self.case.split('/')[0]}' --profile {self.night.facts['profile']} --blocks 15"


@dataclass
class Verdict:
    """Of the newest night of a replay. `strict`: a short baseline is inconclusive."""

    replay: Replay
    strict: bool = False
    confirming: str = ""  # why suspects were not measured again; "" when they were, or there were none

    @property
    def judged(self) -> Judged:
        return self.replay.nights[-1]

    @property
    def night(self) -> Night:
        return self.judged.night

    def _timed_alarm(self, name: str, outcome: Outcome) -> Alarm:
        nights, cell = self.replay.nights, self.replay.cells[name]
        since = outcome.since if outcome.since is not None else len(nights) - 1
        baseline = outcome.baseline
        values = [self.judged.measured[name].reading.at(baseline.view), *([outcome.confirmed] if outcome.confirmed is not None else [])]
        now = float(np.mean(values))
        rerun = None if outcome.confirmed is None else math.expm1(outcome.confirmed - baseline.centre)
        how = (f"z {outcome.z:.1f} against {baseline.nights} nights; this series shows changes of {text.percent(baseline.detectable)} in one night; "
               + (f"the rerun showed {rerun * 100:.0f} % too" if rerun is not None else f"evidence added up over nights (CUSUM {outcome.cusum:.1f}, limit {RULE.limit:.0f})"))
        return Alarm(name, cell.driver, cell.case, "real_time", cell.engine, "s", math.exp(baseline.centre), math.exp(now), rerun, nights[since].night,
                     len(nights) - since, bool(outcome.path), how, tuple(nights[since].changed), self.night)

    def _exact_alarm(self, name: str, outcome: ExactOutcome) -> Alarm:
        nights = self.replay.nights
        since = outcome.since if outcome.since is not None else len(nights) - 1
        series, metric = name.rsplit(" ", 1)
        cell = next(c for c in self.night.cells if c.series == series)
        unit = gated_metrics(self.night.facts["metric_defs"])[metric]["unit"]
        return Alarm(name, cell.driver, cell.case, metric, cell.engine, unit, outcome.reference, outcome.median, None, nights[since].night, len(nights) - since,
                     outcome.new, f"every block of the night is above {text.significant(outcome.reference + outcome.step, 6)}", tuple(nights[since].changed), self.night)

    @cached_property
    def alarms(self) -> list[Alarm]:
        """Everything that is red, new alarms first, largest change first."""
        found = [self._timed_alarm(n, o) for n, o in self.judged.timed.items() if o.status == "regressed" and o.baseline]
        found += [self._exact_alarm(n, o) for n, o in self.judged.exact.items() if o.status == "regressed"]
        return sorted(found, key=lambda a: (not a.new, -a.change, a.series))

    @cached_property
    def groups(self) -> list[str]:
        """'overlay2: 3 series together', where several alarms share a driver or a workload."""
        found = []
        for words, key in (("driver", lambda a: a.driver), ("workload", lambda a: a.case.split("/")[0])):
            keys = [key(a) for a in self.alarms if a.new]
            found += [f"{words} {k}: {keys.count(k)} series together" for k in dict.fromkeys(keys) if keys.count(k) >= GROUP_MIN]
        return found

    @property
    def unconfirmed(self) -> list[str]:
        """Suspects that would be alarms had a rerun agreed, and were not measured again."""
        return [n for n, o in self.judged.timed.items() if o.status == "suspect" and o.confirmed is None and o.baseline.nights >= RULE.full
                and o.z > RULE.fast and o.effect > math.log1p(RULE.fast_effect)]

    @property
    def failures(self) -> list[dict]:
        return self.night.facts.get("failures", [])

    @property
    def short(self) -> list[str]:
        return self.judged.with_status("learning") + self.judged.with_status("warned")

    @property
    def code(self) -> int:
        """The exit code (METHOD d.7)."""
        if not self.judged.timed and not self.judged.exact:
            return errors.NOTHING
        if self.alarms:
            return errors.SLOWER
        if self.failures:
            return errors.ERROR
        if self.judged.shift or self.judged.invalid or self.unconfirmed or (self.strict and self.short):
            return errors.INCONCLUSIVE
        return errors.OK

    @property
    def word(self) -> str:
        return {errors.NOTHING: "nothing ran", errors.SLOWER: "regression", errors.ERROR: "a benchmark failed", errors.INCONCLUSIVE: "inconclusive", errors.OK: "ok"}[self.code]

    @cached_property
    def summary(self) -> str:
        """One sentence."""
        judged = self.judged
        if self.code == errors.NOTHING:
            return f"no case ran in {BLOCKS_MIN} blocks on a driver and on {self.judged.night.control} beside it; measure with --blocks 9"
        if self.alarms:
            new = sum(a.new for a in self.alarms)
            return f"{new} new, {len(self.alarms) - new} known" + (f"; {'; '.join(self.groups)}" if self.groups else "")
        if self.failures:
            return f"{len(self.failures)} samples failed; nothing else is slower"
        if judged.shift:
            return f"the environment shifted: {judged.shift}; no single series is blamed"
        if judged.invalid:
            return f"this night is not judged: {judged.invalid}"
        if self.unconfirmed:
            return f"{len(self.unconfirmed)} suspect{'s' if len(self.unconfirmed) > 1 else ''} far above the baseline, not measured again: {self.confirming or 'use --confirm'}"
        gating = [o.baseline for o in judged.timed.values() if o.baseline and o.status not in ("learning", "warned", "noisy")]
        if not gating:
            return f"no baseline yet: {len(self.replay.nights)} nights, {RULE.full} are needed before times can alarm"
        seen = sorted(b.detectable for b in gating)
        return (f"none of {len(gating)} series is slower than its baseline; a night shows changes of {text.percent(seen[0])}"
                + (f" to {text.percent(seen[-1])}" if len(seen) > 1 else "") + " (80 % power)")

    def rows(self) -> list[tuple[str, ...]]:
        """(series, state, change, z, detects, nights) of every timed series and of every count that is not as it was."""
        found = []
        for name, o in self.judged.timed.items():
            b = o.baseline
            found.append((name, o.status, "–" if o.effect is None else f"{math.expm1(o.effect) * 100:+.1f} %", "–" if o.z is None else f"{o.z:.1f}",
                          "–" if b is None else text.percent(b.detectable), "0" if b is None else str(b.nights)))
        for name, e in self.judged.exact.items():
            if e.status not in ("ok", "learning"):
                change = "–" if not e.reference else f"{(e.median / e.reference - 1) * 100:+.1f} %"
                found.append((name, e.status, change, "–", "–", "–"))
        return found


