"""Walks forward over the nights of a history and decides each with nothing but the nights before it.

METHOD pairs each series with the control of its own case. Where that takes a fraction of a
millisecond it is noisier than what it should steady, so here the control of a block is the
geometric mean over all of the control's cases in it: on the nights in tests/data/nights the
spread between nights of a 64 MiB copy-up fell from 0.34 to 0.03, the median over series from
0.046 to 0.037.

There is no stored state: the history and the decisions people made are all there is, so
the same history gives the same verdicts on every machine.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import likeness, statistics
from ..ab import EXACT_FLOOR
from ..history.night import Cell, Night, gated_metrics
from ..history.store import Decision
from .rule import RULE, ExactOutcome, ExactSeries, Outcome, Panel, Reading, Rule

BLOCKS_MIN = 5  # a night with fewer says nothing about a series
CONTROL_SECONDS_MIN = 0.005
PRESSURE_MAX = 5.0  # PSI io avg10 at the start, per cent (METHOD d.1)
PRESSURE_FACTOR = 3.0  # a machine that is always loaded is measured against its own nights


@dataclass(frozen=True)
class Measured:
    """A timed series in one night; `width` is half the interval over blocks of the paired value, in ln."""

    cell: Cell
    reading: Reading
    width: float
    blocks: int


def _logs(cell: Cell) -> dict[int, float]:
    return {b: math.log(s) for b, s in zip(cell.blocks, cell.seconds)}


def machine_index(night: Night, levels: dict[str, float]) -> dict[int, float]:
    """Block → how slow the machine was in it: mean over the control's cases of ln seconds less the case's level.

    A level is set on the first night a case is seen, so that a subset that grows or shrinks
    hardly moves the index. Cases the control is done with in a moment are noise, not a control.
    """
    cells = [c for c in night.cells if c.driver == night.control and len(c.blocks) >= BLOCKS_MIN]
    long = [c for c in cells if float(np.median(c.seconds)) >= CONTROL_SECONDS_MIN] or cells
    logs = []
    for cell in long:
        own = _logs(cell)
        level = levels.setdefault(cell.series, float(np.median(list(own.values()))))
        logs.append({b: value - level for b, value in own.items()})
    shared = set.intersection(*(set(own) for own in logs)) if logs else set()
    return {b: sum(own[b] for own in logs) / len(logs) for b in sorted(shared)}


def measure(night: Night, levels: dict[str, float]) -> dict[str, Measured]:
    """Series name → value, for every driver's cell that shares enough blocks with the control. `levels` is added to."""
    index = machine_index(night, levels)
    found = {}
    for cell in night.cells:
        if cell.driver == night.control:
            continue
        own = _logs(cell)
        logs = np.array([own[b] - index[b] for b in own if b in index])
        if len(logs) >= BLOCKS_MIN:
            estimate = statistics.paired_log_ratio(logs, night.run_id)
            reading = Reading(estimate.value, math.log(cell.fastest_s), (estimate.high - estimate.low) / 3.92)
            found[cell.series] = Measured(cell, reading, (estimate.high - estimate.low) / 2, len(logs))
    return found


def control_levels(night: Night) -> dict[str, Reading]:
    """ln seconds of the control in each of its cases."""
    levels = {c.series: math.log(float(np.median(c.seconds))) for c in night.cells if c.driver == night.control and len(c.blocks) >= BLOCKS_MIN}
    return {name: Reading(level, level) for name, level in levels.items()}  # load is what they are here to show: no error


def exact_name(cell: Cell, metric: str) -> str:
    return f"{cell.series} {metric}"


@dataclass
class Judged:
    """One night with everything decided about it."""

    night: Night
    shift: str
    invalid: str  # why the night is not looked at; "" when it is
    timed: dict[str, Outcome]
    measured: dict[str, Measured]
    exact: dict[str, ExactOutcome]
    changed: list[likeness.Difference] = field(default_factory=list)  # version and state tiers, against the night before
    decisions: list[Decision] = field(default_factory=list)  # made after this night

    @property
    def new_alarms(self) -> list[str]:
        """Series whose regression was confirmed this very night, exact metrics last."""
        return [n for n, o in self.timed.items() if o.path] + [n for n, o in self.exact.items() if o.new]

    @property
    def regressed(self) -> list[str]:
        """Series that are red, new or known."""
        return [n for n, o in self.timed.items() if o.status == "regressed"] + [n for n, o in self.exact.items() if o.status == "regressed"]

    def with_status(self, status: str) -> list[str]:
        return [n for group in (self.timed, self.exact) for n, o in group.items() if o.status == status]


@dataclass
class Replay:
    """All nights judged in order."""

    nights: list[Judged]
    panel: Panel
    cells: dict[str, Cell]  # timed series → its newest cell
    control: str
    levels: dict[str, float]
    usual_pressure: list[float]


def _version_differences(before: Night, after: Night) -> list[likeness.Difference]:
    found = []
    for tier in ("version", "state"):
        old, new = before.facts_of(tier), after.facts_of(tier)
        for name in dict.fromkeys([*old, *new]):
            pair = (old.get(name, likeness.ABSENT), new.get(name, likeness.ABSENT))
            if pair[0] != pair[1] and not any(f"{tier}.{name}".startswith(m) for m in likeness.MOMENTARY):
                found.append(likeness.Difference(tier, name, pair))
    return found


def pressure(night: Night) -> float | None:
    """Share of time something waited for I/O when the night began, per cent."""
    value = (night.facts["environment"]["state"].get("pressure_avg10") or {}).get("io")
    return float(value) if isinstance(value, (int, float)) else None


def unfit(night: Night, usual_pressure: Sequence[float]) -> str:
    """Why a night cannot be judged: too few blocks, or far more I/O pressure than this machine's nights have; "" when it can."""
    if not night.cells:
        return "nothing was measured"
    if max(len(cell.blocks) for cell in night.cells) < BLOCKS_MIN:
        return f"fewer than {BLOCKS_MIN} blocks"
    own = pressure(night)
    usual = float(np.median(usual_pressure)) if usual_pressure else 0.0
    if own is not None and own > max(PRESSURE_MAX, PRESSURE_FACTOR * usual) and len(usual_pressure) >= RULE.provisional:
        return f"other work kept the disk busy: I/O pressure {own:.0f} % when it began, {usual:.0f} % is usual here"
    return ""


def stream(nights: Sequence[Night], like: Night) -> list[Night]:
    """The nights `like` is judged by: same environment, suite and kind; injected ones only where it is injected itself."""
    return [n for n in nights if (n.fingerprint, n.suite, n.kind) == (like.fingerprint, like.suite, like.kind)
            and n.date <= like.date and (not n.injected or like.injected)]


def newest_stream(nights: Sequence[Night]) -> list[Night]:
    """The stream of the newest night made without injection; of the newest at all where every one is injected."""
    plain = [n for n in nights if not n.injected] or list(nights)
    return stream(plain, plain[-1]) if plain else []


def _exact_step(night: Night, index: int, known: dict[str, ExactSeries], valid: bool, learn: bool) -> dict[str, ExactOutcome]:
    found = {}
    units = gated_metrics(night.facts["metric_defs"])
    for cell in night.cells:
        if len(cell.blocks) < BLOCKS_MIN:
            continue
        for metric, values in cell.metrics.items():
            name = exact_name(cell, metric)
            series = known.setdefault(name, ExactSeries(float(EXACT_FLOOR.get(units[metric]["unit"], 1))))
            found[name] = series.step(index, values, valid, learn)
    return found


def _apply(decision: Decision, panel: Panel, exact: dict[str, ExactSeries]) -> None:
    for name in list(panel.series):
        if fnmatch.fnmatchcase(name, decision.series):
            (panel.accept_level if decision.action == "ack" else panel.forget)(name)
    for name, series in exact.items():
        if fnmatch.fnmatchcase(name, decision.series):
            series.restart(decision.action == "ack")
    if decision.action == "reset" and decision.series == "*":
        for control in panel.controls.values():
            control.restart()


def replay(nights: Sequence[Night], decisions: Sequence[Decision] = (), rule: Rule = RULE) -> Replay:
    """Judges `nights` (one environment, oldest first). A workload of another version starts its series anew."""
    panel, exact, judged, versions = Panel(rule), {}, [], {}
    usual_pressure: list[float] = []
    cells: dict[str, Cell] = {}
    levels: dict[str, float] = {}
    for index, night in enumerate(nights):
        for cell in night.cells:
            if versions.setdefault(cell.series, cell.version) != cell.version:
                versions[cell.series] = cell.version
                if cell.series in panel.series:
                    panel.forget(cell.series)
                if cell.series in panel.controls:
                    panel.controls[cell.series].restart()
                levels.pop(cell.series, None)
                for metric in cell.metrics:
                    exact.pop(exact_name(cell, metric), None)
        measured = measure(night, levels)
        cells |= {name: m.cell for name, m in measured.items()}
        reruns: dict[str, Reading] = {}
        for rerun in night.confirmations:
            for name, m in measure(rerun, levels).items():
                reruns[name] = min(m.reading, reruns.get(name, m.reading), key=lambda r: r.paired)
        invalid = unfit(night, usual_pressure[-rule.window:])
        learn = not night.injected
        shift, timed = panel.step({n: m.reading for n, m in measured.items()}, control_levels(night), reruns, not invalid, learn)
        counts = _exact_step(night, index, exact, not invalid, learn)
        changed = _version_differences(nights[index - 1], night) if index else []
        made = [d for d in decisions if d.after_run == night.run_id and d.fingerprint == night.fingerprint]
        for decision in made:
            _apply(decision, panel, exact)
        judged.append(Judged(night, shift, invalid, timed, measured, counts, changed, made))
        own = pressure(night)
        if own is not None and not invalid:
            usual_pressure.append(own)
    return Replay(judged, panel, cells, nights[-1].control if nights else "native", levels, usual_pressure[-rule.window:])
