"""Ranks drivers for a use: the measured order, why, at what price, and what a distribution has to do with it.

Ties share a rank. Kernel and user-space engines are ranked apart. What was not measured is
said, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import facts, measure, text, use_cases
from .comparison import Comparison, Standing
from .distributions import Distribution
from .errors import UsageError
from .use_cases import UseCase, Verdict


@dataclass(frozen=True)
class Place:
    """One driver on a list; ties share `rank`."""

    rank: int
    driver: str
    tied: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Ranked:
    """One use in one engine class; without places, `silence` says why."""

    use: UseCase
    engine: str
    places: tuple[Place, ...]
    sure: str
    aside: tuple[str, ...]
    silence: str = ""


@dataclass
class Choice:
    """Everything `sbench choose` says."""

    lists: list[Ranked]
    measured_on: str
    cautions: list[str] = field(default_factory=list)
    distribution: Distribution | None = None

    @property
    def silent(self) -> bool:
        """Whether no list has a place."""
        return not any(each.places for each in self.lists)


def pick(chosen: Sequence[UseCase], name: str | None) -> list[UseCase]:
    """The use cases to speak of."""
    if name is None:
        return list(chosen)
    found = [u for u in chosen if u.key == name]
    if not found:
        raise UsageError(f"no use case '{text.plain(name)}'; there are {', '.join(u.key for u in chosen)}")
    return found


def _interval(standing: Standing) -> str:
    e = standing.to_best
    word = {"ci95": "95 % interval", "range": "range seen", "none": "one block"}[e.kind]
    return f"{measure.distance_words(standing.measured, e.value)} ({word} {text.ratio(e.low)} to {text.ratio(e.high)})"


def _reasons(comparison: Comparison, verdict: Verdict, standing: Standing, distribution: Distribution | None) -> tuple[str, ...]:
    driver = comparison.run.drivers[standing.driver]
    best = measure.best_words(standing.measured)
    found = [{"best": best.removeprefix("the ") + " here" if standing.measured == measure.TIME else best, "only": "the only one measured",
              "tie": f"cannot be told from {best}: " + _interval(standing) if standing.to_best else ""}.get(standing.verdict) or _interval(standing)]
    if standing.seconds:
        found[0] += f", {measure.shown(standing.measured, standing.seconds.value)} (geometric mean of {verdict.cells} case{'s' if verdict.cells != 1 else ''})"
    if standing.unstable:
        found.append("its own blocks differ by more than 10 %")
    found += use_cases.price(comparison, verdict, standing.driver)
    if driver.drops_syncs:
        found.append("drops syncs: a crash loses what was written")
    found += [f"deviates from a plain directory: {sentence}" for sentence in driver.deviations]
    remark = distribution.remark(driver) if distribution else ""
    return tuple(found + ([remark] if remark else []))


def _order(standing: Standing) -> tuple:
    return (standing.verdict not in ("best", "only"), standing.to_best.value if standing.to_best else 0.0, standing.driver)


def _list(comparison: Comparison, verdict: Verdict, distribution: Distribution | None) -> Ranked:
    measured = sorted((s for s in verdict.ranking.standings.values() if s.seconds), key=_order)
    places, rank = [], 0
    for position, standing in enumerate(measured, 1):
        rank = 1 if standing.verdict in ("best", "only", "tie") else position
        places.append(Place(rank, comparison.run.label(standing.driver), standing.verdict == "tie", _reasons(comparison, verdict, standing, distribution)))
    places.sort(key=lambda p: p.rank)
    aside = [*use_cases.set_aside_words(comparison, verdict),
             *(f"{comparison.run.label(s.driver)}: no number, {s.reason}" for s in verdict.ranking.standings.values() if not s.seconds)]
    silence = "" if places else f"no data: nothing that speaks for this use was measured with {verdict.engine} engines"
    return Ranked(verdict.use_case, verdict.engine, tuple(places), use_cases.confidence(verdict) if places else "", tuple(aside), silence)


def choose(comparison: Comparison, chosen: Sequence[UseCase], distribution: Distribution | None = None) -> Choice:
    """From one run: every use and engine class."""
    run = comparison.run
    excluded = {slug: reason for slug, d in run.drivers.items() if distribution and (reason := distribution.excludes(d))}
    lists = [_list(comparison, verdict, distribution) for verdict in use_cases.verdicts(comparison, chosen, excluded)]
    version = run.body["environment"]["version"]
    measured_on = f"{version.get('distribution', 'unknown system')}, kernel {version.get('kernel_release', 'unknown')}, {run.body['device']['kind']} device, {facts.blocks_words(comparison)}"
    choice = Choice(lists, measured_on, [], distribution)
    if distribution:
        name = str(version.get("distribution", "")).lower()
        if not any(alias in name for alias in distribution.aliases):
            choice.cautions.append(f"nothing was measured on {distribution.title}: the order is that of {version.get('distribution', 'another system')}, of what {distribution.title} ships")
        if distribution.engine_default != "unknown":
            choice.cautions.append(f"a container engine there starts with {distribution.engine_default}")
    for name, reason, _ in facts.skipped(comparison):
        choice.cautions.append(f"{name} was not measured: {reason}")
    if not comparison.inference:
        choice.cautions.append("fewer than 6 blocks: what is called best may be so by chance")
    return choice


def as_text(choice: Choice) -> str:
    """For a terminal."""
    lines = [f"measured on {choice.measured_on}"]
    if choice.distribution:
        d = choice.distribution
        lines.append(f"for {d.title}: kernel {d.kernel}, root file system {d.root_fs}; " + ", ".join(f"{n} {v}" for n, v in d.facilities.items()))
    for each in choice.lists:
        lines += ["", f"{each.use.title} [{each.engine}]: {each.silence or each.sure}"]
        for place in each.places:
            lines.append(f"  {place.rank}. {place.driver}{'  (tie)' if place.tied else ''}")
            lines += [f"       {reason}" for reason in place.reasons]
        lines += [f"  set aside: {words}" for words in each.aside]
    lines += [""] * bool(choice.cautions) + choice.cautions
    return "\n".join(text.plain(line) for line in lines) + "\n"


def as_markdown(choice: Choice) -> str:
    """The same for a page."""
    escape = text.markdown
    lines = ["## Which storage driver", "", f"Measured on {escape(choice.measured_on)}.", ""]
    for each in choice.lists:
        lines += [f"### {escape(each.use.title)} ({each.engine} engines)", "", escape(each.silence or each.sure) + ".", ""]
        lines += [f"{place.rank}. **{escape(place.driver)}**{' (tie)' if place.tied else ''}: {escape('; '.join(place.reasons))}" for place in each.places]
        lines += [f"- set aside: {escape(words)}" for words in each.aside] + [""]
    lines += [f"- {escape(words)}" for words in choice.cautions]
    return "\n".join(lines).rstrip() + "\n"


def document(choice: Choice) -> dict[str, Any]:
    """The same for programs."""
    d = choice.distribution
    return {"measured_on": choice.measured_on, "distribution": None if d is None else distribution_document(d),
            "uses": [{"use": each.use.key, "engine": each.engine, "sure": each.sure, "no_data": each.silence, "set_aside": each.aside,
                      "places": [{"rank": p.rank, "driver": p.driver, "tied": p.tied, "reasons": p.reasons} for p in each.places]} for each in choice.lists],
            "cautions": choice.cautions}


def distribution_document(d: Distribution) -> dict[str, Any]:
    return {"key": d.key, "title": d.title, "kernel": d.kernel, "root_fs": d.root_fs, "engine_default": d.engine_default, **d.facilities, "sources": d.sources}
