"""What a history holds, environment by environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import text
from .night import Night


def _hardware(night: Night) -> str:
    identity = night.facts["environment"]["identity"]
    device = night.facts["device"]
    return f"{identity.get('cpus', '?')} × {identity.get('cpu_model') or 'CPU unknown'}, {identity.get('ram_gib', '?')} GiB, {device['kind']} {text.human_bytes(device['size_bytes'])}"


def environments(runs: Sequence[Night]) -> list[dict[str, Any]]:
    """One entry for each fingerprint, suite and kind, by first run; reruns count with their night's kind left aside."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    by_id = {run.run_id: run for run in runs}
    for run in runs:
        of = by_id.get(run.confirms, run)
        entry = found.setdefault((of.fingerprint, of.suite, of.kind), {
            "environment": of.fingerprint, "machine": of.machine, "hardware": text.plain(_hardware(of)), "suite": of.suite, "kind": of.kind, "nights": 0, "reruns": 0,
            "injected": 0, "first": run.date, "last": run.date, "drivers": []})
        entry["reruns" if run.confirms else "injected" if run.injected else "nights"] += 1
        entry["first"], entry["last"] = min(entry["first"], run.date), max(entry["last"], run.date)
        entry["drivers"] += [c.driver for c in run.cells if c.driver not in entry["drivers"]]
    for entry in found.values():
        entry["drivers"] = sorted(set(entry["drivers"]))
    return list(found.values())
