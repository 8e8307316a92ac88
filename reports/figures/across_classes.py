"""One driver in several engine classes, side by side by what reached the device: a table for each such driver.

Times are left out: they do not compare across classes. Each class shows the newest
run that has it.
"""

from __future__ import annotations

from .. import text
from ..comparison import HARNESS_FAMILY, metric_median
from ..result_file import CaseId, Driver
from ..run_set import Member, RunSet
from . import Figure

_METRICS = (("bytes_dev_written", "written"), ("bytes_dev_read", "read"), ("space_bytes", "space"))


def _key(driver: Driver) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The same driver with the same options, whoever does the work."""
    return driver.name, tuple(sorted((k, v) for k, v in driver.options.items() if k != "engine"))


def _columns(run_set: RunSet) -> dict[tuple, dict[str, tuple[Member, Driver]]]:
    """driver and options → engine class → the newest run that has it."""
    found: dict[tuple, dict[str, tuple[Member, Driver]]] = {}
    for member in run_set.members:
        for driver in member.run.drivers.values():
            if driver.stores_layers and driver.semantic_check != "failed":
                found.setdefault(_key(driver), {})[driver.engine] = (member, driver)
    return {key: classes for key, classes in found.items() if len(classes) > 1}


def _value(member: Member, driver: Driver, case: CaseId, metric: str) -> float | None:
    return metric_median(member.run.blocks(case, driver.slug).values(), metric)


def _rows(classes: dict[str, tuple[Member, Driver]]) -> list[tuple[str, ...]]:
    sides = list(classes.values())
    rows = []
    for case in sides[0][0].run.cases:
        if case.workload.split(".")[0] == HARNESS_FAMILY:
            continue
        for metric, words in _METRICS:
            values = [_value(member, driver, case, metric) for member, driver in sides]
            if any(v is None for v in values) or not any(values):
                continue
            ratios = [text.ratio(v / values[0]) + "×" if values[0] else "–" for v in values[1:]]
            rows.append((f"{case.key}, {words}", *(text.human_bytes(v) for v in values), *ratios))
    return rows


def build(run_set: RunSet) -> list[Figure]:
    """One table per driver that ran in more than one class; none where no driver did."""
    figures = []
    for classes in _columns(run_set).values():
        rows = _rows(classes)
        if not rows:
            continue
        names = [f"{driver.label} [{engine}]" for engine, (_, driver) in classes.items()]
        first = next(iter(classes.values()))[1]
        why = (f"Why they differ: {first.engines_differ}",) if first.engines_differ else ()
        figures.append(Figure(
            f"classes-{first.slug.replace('.', '-')}", f"{first.name} in {len(classes)} engine classes, by bytes",
            f"What the same work wrote to and read from the device, and the space it took, as done by {' and by '.join(names)}. "
            "Medians over blocks. Times of different classes do not compare.",
            f"{len(rows)} rows of device bytes and space.",
            ("case", *names, *(f"{name} / {names[0]}" for name in names[1:])), tuple(rows), None,
            notes=why + tuple(f"[{engine}]: run of {member.date}, kernel "
                        f"{member.run.body['environment']['version'].get('kernel_release', 'unknown')}"
                        for engine, (member, _) in classes.items())))
    return figures
