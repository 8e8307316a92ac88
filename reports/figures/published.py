"""What others published beside what was measured here, a table a source, and why the two may differ."""

from __future__ import annotations

from collections.abc import Sequence

from .. import likeness, measure, text
from ..facts import device_words
from ..published import Line, Study, of_runs, studies
from ..run_set import Member, RunSet
from . import Figure

_NONE = "–"
_ABSENT = "not measured"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return text.human_time(seconds) if seconds < 7200 else f"{text.trimmed(seconds / 3600)} h"


def _factor(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{text.ratio(value) if value >= 0.1 else text.trimmed(value)}×"  # clones and copies differ by thousands


def _absences(found: list[Line]) -> list[str]:
    """Why times are missing here, each reason once."""
    without: dict[str, list[str]] = {}
    for line in found:
        if line.absence:
            without.setdefault(line.absence, []).append(line.driver)
    return [f"Not measured here: {', '.join(dict.fromkeys(drivers))}: {reason}." for reason, drivers in without.items()]


def _system(member: Member) -> tuple[str, ...]:
    """What must be equal for the drivers of two runs to stand in one table."""
    run = member.run
    version = run.body["environment"]["version"]
    return (likeness.machine(run), str(version.get("distribution")), str(version.get("kernel_release")), device_words(run.body["device"]))


def _members(run_set: RunSet) -> list[Member]:
    """The newest run, then the others of the same system, newest first; none where times say nothing."""
    alike = [m for m in reversed(run_set.members) if _system(m) == _system(run_set.newest) and not measure.inside(m.run)]
    return alike if run_set.newest in alike else []


def _reasons(members: Sequence[Member], study: Study, found: list[Line]) -> tuple[str, ...]:
    """Why the numbers may differ, what is general first, and why some are missing."""
    run = members[0].run
    version = run.body["environment"]["version"]
    engines = {m.run.label(slug): m.run.drivers[slug].engine for m in reversed(members) for slug in m.run.shown}
    used = {row.workload for row in study.rows}
    workloads = [w for m in members for name, w in sorted(m.run.body["workloads"].items()) if name in used]
    durability = ", ".join(dict.fromkeys(w["durability"] for w in workloads))
    cache = ", ".join(dict.fromkeys(w["cache"] for w in workloads))
    several = (f"Here: {len(members)} runs of this machine ({', '.join(m.date for m in members)}); a driver's line is of the newest run"
               " that measured it, its factor of that run alone.",) if len(members) > 1 else ()
    return (f"Source: {', '.join(study.sources)} ({study.date}; {study.samples}).", *several,
            f"Kernel: theirs {study.kernel}; here {version.get('kernel_release', 'unknown')}.",
            f"Device: theirs {study.device}; here {device_words(run.body['device'])}.",
            f"Machine: theirs {study.machine}; here {run.context['num_cpus']} processors.",
            f"Engine: theirs {study.engine}; here {', '.join(f'{label} {engine}' for label, engine in engines.items())}."
            " A user-space engine's time is shown, never ranked against a kernel's.",
            f"Durability: theirs {study.durability}; here {durability or 'not stated'}. Cache: theirs {study.cache}; here {cache or 'not stated'}.",
            *study.differs, *_absences(found))


def _columns(study: Study, sized: bool) -> tuple[str, ...]:
    reference = study.reference
    return ("what", "driver", "published", *((f"published, {reference} = 1",) if reference else ()), "measured here",
            *(("size",) if sized else ()), "engine", *((f"here, {reference} = 1",) if reference else ()))


def _cells(study: Study, line: Line, sized: bool) -> tuple[str, ...]:
    driver = line.driver if line.name in ("", line.driver) else f"{line.driver} ({line.name})"
    factor = bool(study.reference)
    return (line.what, driver, _time(line.published_s), *((_factor(line.published_factor),) if factor else ()),
            _ABSENT if line.absence else _time(line.measured_s), *((line.size or "as published",) if sized else ()),
            line.engine or _NONE, *((_factor(line.measured_factor),) if factor else ()))


def _figure(members: Sequence[Member], study: Study) -> Figure | None:
    found = of_runs([member.comparison for member in members], study)
    if not any(line.measured_s is not None for line in found):
        return None
    told = [line for line in found if line.published_s is not None or line.measured_s is not None]
    sized = any(line.size for line in told)
    both = sum(line.measured_s is not None and line.published_s is not None for line in told)
    factors = f" Compare the factors to {study.reference}, not the seconds: those of different machines do not compare." if study.reference \
        else " Seconds of different machines do not compare; orders of magnitude do."
    return Figure(
        f"published-{study.slug}", f"Beside published figures: {study.title}",
        "Seconds, medians over the blocks" + ("" if sized else ", at the published size")
        + "; lower is better, yet nothing is ranked here." + factors,
        f"{len(told)} rows, {both} of them with a published and a measured time",
        _columns(study, sized), tuple(_cells(study, line, sized) for line in told), None, _reasons(members, study, found), prose=True)


def build(run_set: RunSet) -> list[Figure]:
    """One table a source that these runs have cases of; none without the peers' workloads."""
    members = _members(run_set)
    figures = (_figure(members, study) for study in studies()) if members else ()
    return [figure for figure in figures if figure is not None]
