"""What others published beside what was measured here, a table a source, and why the two may differ."""

from __future__ import annotations

from .. import text
from ..comparison import Comparison
from ..facts import device_words
from ..published import Line, Study, lines, studies
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


def _reasons(comparison: Comparison, study: Study, found: list[Line]) -> tuple[str, ...]:
    """Why the numbers may differ, what is general first, and why some are missing."""
    run = comparison.run
    version = run.body["environment"]["version"]
    engines = ", ".join(f"{run.label(slug)} {run.drivers[slug].engine}" for slug in run.shown)
    workloads = [run.body["workloads"][name] for name in sorted({row.workload for row in study.rows})
                 if name in run.body["workloads"]]
    durability = ", ".join(dict.fromkeys(w["durability"] for w in workloads))
    cache = ", ".join(dict.fromkeys(w["cache"] for w in workloads))
    return (f"Source: {', '.join(study.sources)} ({study.date}; {study.samples}).",
            f"Kernel: theirs {study.kernel}; here {version.get('kernel_release', 'unknown')}.",
            f"Device: theirs {study.device}; here {device_words(run.body['device'])}.",
            f"Machine: theirs {study.machine}; here {run.context['num_cpus']} processors.",
            f"Engine: theirs {study.engine}; here {engines}. A user-space engine's time is shown, never ranked against a kernel's.",
            f"Durability: theirs {study.durability}; here {durability or 'not stated'}. Cache: theirs {study.cache}; here {cache or 'not stated'}.",
            *study.differs, *_absences(found))


def _cells(study: Study, line: Line) -> tuple[str, ...]:
    driver = line.driver if line.name in ("", line.driver) else f"{line.driver} ({line.name})"
    cells = (line.what, driver, _time(line.published_s))
    factors = (_factor(line.published_factor),) if study.reference else ()
    measured = (_ABSENT if line.absence else _time(line.measured_s), line.size or "as published", line.engine or _NONE)
    return cells + factors + measured + ((_factor(line.measured_factor),) if study.reference else ())


def _figure(comparison: Comparison, study: Study) -> Figure | None:
    found = lines(comparison, study)
    if not any(line.measured_s is not None for line in found):
        return None
    reference = study.reference
    columns = ("what", "driver", "published") + ((f"published, {reference} = 1",) if reference else ()) \
        + ("measured here", "size", "engine") + ((f"here, {reference} = 1",) if reference else ())
    both = sum(line.measured_s is not None and line.published_s is not None for line in found)
    factors = f" Compare the factors to {reference}, not the seconds: those of different machines do not compare." if reference \
        else " Seconds of different machines do not compare; orders of magnitude do."
    return Figure(
        f"published-{study.slug}", f"Beside published figures: {study.title}",
        "Seconds, medians over the blocks; lower is better, yet nothing is ranked here." + factors,
        f"{len(found)} rows, {both} of them with a published and a measured time",
        columns, tuple(_cells(study, line) for line in found), None, _reasons(comparison, study, found), prose=True)


def build(comparison: Comparison) -> list[Figure]:
    """One table a source that this run has cases of; none without the peers' workloads."""
    figures = (_figure(comparison, study) for study in studies())
    return [figure for figure in figures if figure is not None]
