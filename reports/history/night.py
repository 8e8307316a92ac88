"""One run as the history keeps it: the samples of every case and driver, and all facts about it.

A *night* is a run whatever its hour. Runs compare over time only within one environment:
`fingerprint` hashes the identity tier (METHOD c.3) and the control's definition; kernel,
distribution and tool versions are not in it, because finding what they change is the purpose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import likeness
from ..comparison import HARNESS_FAMILY, UNEQUAL_WORK
from ..result_file import CaseId, Run, Sample, driver_of

FASTEST = "fastest_execution_s"  # the metric of operations that are repeated within a block
CONFIRMS = "confirmation:"  # kind of a rerun of suspects: the word before the night's run id
# What is kept of the result's body beside the samples.
_FACTS = ("profile", "seed", "order", "command", "request", "blocks_planned", "blocks_done", "complete", "control", "device",
          "metric_defs", "workloads", "drivers", "skips", "failures", "environment")


@dataclass(frozen=True)
class Cell:
    """One case on one driver, all blocks: parallel lists, `metrics` those that are gated, besides the time.

    `fastest`: of the executions within each block, where the operation was repeated there; else empty.
    """

    case: str  # workload/param:value/…
    driver: str
    engine: str
    version: int  # of the workload: another one is another series
    blocks: tuple[int, ...]
    seconds: tuple[float, ...]
    metrics: dict[str, tuple[float, ...]] = field(hash=False)
    fastest: tuple[float, ...] = ()

    @property
    def fastest_s(self) -> float:
        """The shortest time seen."""
        return min(self.fastest or self.seconds)

    @property
    def workload(self) -> str:
        return self.case.split("/")[0]

    @property
    def series(self) -> str:
        """The name of METHOD c.1: workload/driver/param:value/…"""
        workload, _, params = self.case.partition("/")
        return f"{workload}/{self.driver}" + (f"/{params}" if params else "")


@dataclass
class Night:
    """A run in the history, with the reruns that confirm its suspects."""

    run_id: str
    date: str
    kind: str
    machine: str
    fingerprint: str
    suite: str
    injected: str
    facts: dict[str, Any]
    cells: tuple[Cell, ...]
    confirmations: list["Night"] = field(default_factory=list)

    @property
    def control(self) -> str:
        return self.facts["control"]["driver"]

    @property
    def confirms(self) -> str:
        """The run id of the night this rerun belongs to; "" when it is a night itself."""
        return self.kind[len(CONFIRMS):] if self.kind.startswith(CONFIRMS) else ""

    @property
    def samples(self) -> int:
        return sum(len(cell.blocks) for cell in self.cells)

    def facts_of(self, tier: str) -> dict[str, str]:
        """A tier of the environment as flat text."""
        return dict(likeness.flat("", self.facts["environment"][tier]))

    def as_run(self) -> Run:
        """A run that reports can draw: times and gated metrics, no phases and no latencies."""
        body = {**self.facts, "run_id": self.run_id, "kind": self.kind, "suite": {"name": self.suite, "version": "", "hash": ""}}
        run = Run({"context": {"date": self.date, "host_name": self.machine, "num_cpus": self.facts["environment"]["identity"].get("cpus", 1)}, "benchmarks": [], "sbench": body})
        for entry in self.facts["drivers"]:
            run.drivers[entry["slug"]] = driver_of(entry)
        for cell in self.cells:
            workload, *params = cell.case.split("/")
            case = CaseId(workload, tuple(tuple(p.split(":", 1)) for p in params))
            run.samples[case, cell.driver] = {
                block: Sample(case, cell.driver, block, seconds, {name: values[i] for name, values in cell.metrics.items()}, {}, {}, ())
                for i, (block, seconds) in enumerate(zip(cell.blocks, cell.seconds))}
        return run

    def as_json(self) -> dict[str, Any]:
        cells = [{"case": c.case, "driver": c.driver, "engine": c.engine, "version": c.version, "blocks": c.blocks, "seconds": c.seconds,
                  "metrics": c.metrics} | ({"fastest": c.fastest} if c.fastest else {}) for c in self.cells]
        return {"run_id": self.run_id, "date": self.date, "kind": self.kind, "machine": self.machine, "fingerprint": self.fingerprint,
                "suite": self.suite, "injected": self.injected, "facts": self.facts, "cells": cells}


def cell_from_json(entry: dict[str, Any]) -> Cell:
    """Raises KeyError, TypeError or ValueError for what is no cell."""
    metrics = {str(name): tuple(float(v) for v in values) for name, values in entry["metrics"].items()}
    cell = Cell(str(entry["case"]), str(entry["driver"]), str(entry["engine"]), int(entry["version"]),
                tuple(int(b) for b in entry["blocks"]), tuple(float(s) for s in entry["seconds"]), metrics,
                tuple(float(s) for s in entry.get("fastest", ())))
    if any(len(values) != len(cell.blocks) for values in (cell.seconds, *metrics.values(), *([cell.fastest] if cell.fastest else []))):
        raise ValueError(f"{cell.series}: lists of unequal length")
    return cell


def from_json(entry: dict[str, Any]) -> Night:
    """Raises KeyError, TypeError or ValueError for what is no night."""
    words = {name: str(entry[name]) for name in ("run_id", "date", "kind", "machine", "fingerprint", "suite", "injected")}
    return Night(**words, facts=dict(entry["facts"]), cells=tuple(cell_from_json(each) for each in entry["cells"]))


def with_confirmations(runs: Iterable[Night]) -> list[Night]:
    """The runs that are no reruns, in order, each with the reruns that confirm it; reruns of unknown nights are left out."""
    found = list(runs)
    by_id = {n.run_id: n for n in found if not n.confirms}
    for night in by_id.values():
        night.confirmations = [each for each in found if each.confirms == night.run_id]
    return list(by_id.values())


def fingerprint(run: Run) -> str:
    """Twelve hexadecimal digits: equal where seconds may be set beside each other."""
    told = {"identity": run.body["environment"]["identity"], "control": run.body["control"]}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def gated_metrics(metric_defs: dict[str, Any]) -> dict[str, Any]:
    """Definitions of the counts that are judged almost exactly (METHOD d.2, step 5)."""
    return {name: d for name, d in metric_defs.items() if d.get("gate") and d["noise"] != "sampled" and "expr" not in d}


def from_run(run: Run) -> Night:
    """What the history keeps of a result."""
    body = run.body
    metrics = gated_metrics(body["metric_defs"])
    cells = []
    for case, driver in sorted(run.samples, key=lambda cell: (cell[0].sort_key, cell[1])):
        samples = {b: s for b, s in sorted(run.blocks(case, driver).items()) if s.seconds > 0 and UNEQUAL_WORK not in s.flags}
        if not samples or case.workload.split(".")[0] == HARNESS_FAMILY or not run.drivers[driver].stores_layers:
            continue
        kept = {name: tuple(s.metrics[name] for s in samples.values()) for name in metrics if all(name in s.metrics for s in samples.values())}
        fastest = [s.metrics.get(FASTEST) for s in samples.values()]
        cells.append(Cell(case.key, driver, run.drivers[driver].engine, body["workloads"][case.workload]["version"], tuple(samples),
                          tuple(round(s.seconds, 9) for s in samples.values()), kept, () if None in fastest else tuple(round(s, 9) for s in fastest)))
    facts = {name: body[name] for name in _FACTS if name in body}
    return Night(body["run_id"], str(run.context["date"]), body["kind"], likeness.machine(run), fingerprint(run),
                 f"{body['suite']['name']} {body['suite']['version']}", body.get("injected", ""), facts, tuple(cells))
