"""Figures that others published for shapes sbench runs too (published.json), and what this run measured for them.

A row of a study fits a case when workload and parameters agree; the study's size
parameter may differ, and then the case is shown as done at another size. Factors
relate a driver to the study's reference driver, on both sides, and only within one
run and engine class: a user-space engine is never set against a kernel's by time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from .comparison import Comparison, absence
from .result_file import CaseId, Sample

_FILE = Path(__file__).parent / "published.json"


@dataclass(frozen=True)
class PublishedFigure:
    """One number of a source. `name`: what the source calls the driver."""

    driver: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One thing a study measured. `phases`: those of sbench that make it up; none: the whole sample."""

    workload: str
    params: tuple[tuple[str, str], ...]
    what: str
    phases: tuple[str, ...]
    published: tuple[PublishedFigure, ...]


@dataclass(frozen=True)
class Study:
    """One source, with everything that decides how its numbers compare."""

    slug: str
    title: str
    date: str
    sources: tuple[str, ...]
    machine: str
    kernel: str
    device: str
    engine: str
    durability: str
    cache: str
    samples: str
    reference: str  # the driver that factors relate to; "" for none
    size: tuple[str, str]  # the parameter that says the size, and its value as published
    differs: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Line:
    """A row of a study for one driver: what was published beside what was measured; either side may be missing."""

    what: str
    size: str  # "" as published
    driver: str  # label
    name: str
    engine: str
    published_s: float | None
    published_factor: float | None
    measured_s: float | None
    measured_factor: float | None
    absence: str  # why nothing was measured; "" where something was


@lru_cache(maxsize=None)
def studies() -> tuple[Study, ...]:
    """All studies of the data file."""
    return tuple(_study(entry) for entry in json.loads(_FILE.read_text(encoding="utf-8"))["studies"])


def _study(entry: dict) -> Study:
    rows = tuple(Row(row["workload"], tuple(row["params"].items()), row["what"], tuple(row.get("phases", ())),
                     tuple(PublishedFigure(driver, name or driver, seconds) for driver, name, seconds in row["published"]))
                 for row in entry["rows"])
    words = {key: entry[key] for key in ("slug", "title", "date", "machine", "kernel", "device", "engine", "durability",
                                         "cache", "samples", "reference")}
    return Study(**words, sources=tuple(entry["sources"]), size=tuple(entry["size"]), differs=tuple(entry["differs"]), rows=rows)


def _cases(comparison: Comparison, study: Study, row: Row) -> list[CaseId]:
    """Cases of the run that do what the row did, the published size first."""
    found = [case for case in comparison.run.cases_of(row.workload)
             if all(case.param(name) == value for name, value in row.params)]
    return sorted(found, key=lambda case: (case.param(study.size[0]) != study.size[1], case.sort_key))


def _seconds(row: Row, samples: Iterable[Sample]) -> float | None:
    """Median over the blocks of the phases' sum; None where a phase is missing or nothing was measured."""
    values = []
    for sample in samples:
        if not row.phases:
            values.append(sample.seconds)
        elif all(phase in sample.phases for phase in row.phases):
            values.append(sum(sample.phases[phase]["seconds"] for phase in row.phases))
    return median(values) if values else None


def _factor(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


def lines(comparison: Comparison, study: Study) -> list[Line]:
    """The study's rows that this run has cases for; empty when it has none."""
    run = comparison.run
    found: list[Line] = []
    for row in study.rows:
        theirs = {figure.driver: figure.seconds for figure in row.published}
        for case in _cases(comparison, study, row):
            size = "" if case.param(study.size[0]) == study.size[1] else f"{study.size[0]}:{case.param(study.size[0])}"
            ours = {slug: _seconds(row, run.blocks(case, slug).values()) for slug in run.shown}
            reference = next((slug for slug in run.shown if run.drivers[slug].label == study.reference and ours[slug]), None)
            shown: set[str] = set()
            for figure in row.published:
                own = [slug for slug in run.shown if run.drivers[slug].name == figure.driver]
                for slug in own or [None]:
                    shown.add(slug or "")
                    found.append(_line(comparison, study, row, size, figure, slug, theirs, ours, reference, case))
            for slug in run.shown:  # drivers nobody published a number for
                if slug not in shown:
                    found.append(_line(comparison, study, row, size, None, slug, theirs, ours, reference, case))
    return found


def _absence(comparison: Comparison, driver: str, slug: str | None, case: CaseId) -> str:
    if slug:
        return absence(comparison.run, slug, [case])
    details = [skip["detail"] for skip in comparison.run.body["skips"] if skip["driver"] == driver]
    return details[0] if details else "not in this run"


def _line(comparison: Comparison, study: Study, row: Row, size: str, figure: PublishedFigure | None, slug: str | None,
          theirs: dict[str, float], ours: dict[str, float | None], reference: str | None, case: CaseId) -> Line:
    run = comparison.run
    engine = run.drivers[slug].engine if slug else ""
    comparable = bool(slug and reference and engine == run.drivers[reference].engine)
    return Line(row.what, size, run.label(slug) if slug else figure.driver, figure.name if figure else "", engine,
                figure.seconds if figure else None,
                _factor(figure.seconds, theirs.get(study.reference)) if figure else None,
                ours[slug] if slug else None,
                _factor(ours[slug], ours[reference]) if comparable else None,
                "" if slug and ours[slug] is not None else _absence(comparison, figure.driver if figure else "", slug, case))


def _tells_more(line: Line, than: Line) -> bool:
    return (line.measured_s is not None, bool(line.engine)) > (than.measured_s is not None, bool(than.engine))


def of_runs(comparisons: Sequence[Comparison], study: Study) -> list[Line]:
    """The study's rows over runs of one system, the preferred first: each line is of the first run that measured it."""
    groups: dict[tuple[str, str], dict[tuple[str, str], Line]] = {}
    for comparison in comparisons:
        for line in lines(comparison, study):
            group = groups.setdefault((line.what, line.size), {})
            known = group.get((line.driver, line.name))
            if known is None or _tells_more(line, known):
                group[line.driver, line.name] = line
    order = [row.what for row in study.rows]
    found: list[Line] = []
    for what, size in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        group = groups[what, size].values()
        run_somewhere = {line.name for line in group if line.engine}
        # A driver that one run lacks may be a variant of another.
        kept = [line for line in group if line.engine or line.name not in run_somewhere]
        found += sorted(kept, key=lambda line: line.published_s is None)
    return found
