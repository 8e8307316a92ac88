"""How two or more runs differ: what forbids a comparison, what weakens it, what may explain it.

Three tiers of the environment (METHOD c.3): *identity* says whether it is the same
machine, *version* holds candidate causes of a change, *state* the conditions of the
moment. Only differences are ever listed. Times of different machines compare as
ratios to the control, never as seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .result_file import Run

TIERS = ("identity", "version", "state")
# Differ between any two moments; a list of them would bury what matters.
MOMENTARY = ("state.free_memory_bytes", "state.load_average", "state.uptime_s", "state.pressure_avg10", "state.cpu_ticks", "state.throttles")
ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same in all runs; `values` are in the runs' order."""

    tier: str  # identity, version, state or run
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Likeness:
    """`refusals` forbid a comparison; `cautions` weaken it; `workloads` are those of equal version in all runs."""

    same_machine: bool
    refusals: tuple[str, ...]
    cautions: tuple[str, ...]
    workloads: tuple[str, ...]
    differences: tuple[Difference, ...] = field(default=())


def flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Nested objects as (path, text) rows; lists are one row."""
    if isinstance(value, dict):
        return [row for key, each in value.items() for row in flat(f"{prefix}.{key}" if prefix else str(key), each)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(each) for each in value))]
    return [(prefix, str(value))]


def _run_facts(run: Run) -> dict[str, str]:
    """Facts of the run itself, apart from its environment."""
    body = run.body
    return {"suite": f"{body['suite']['name']} {body['suite']['version']}", "profile": body["profile"],
            "device": body["device"]["kind"], "control": body["control"]["driver"], "blocks": str(body["blocks_done"])}


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Every fact that is not the same in all runs, identity first; what differs at any moment is left out."""
    found = []
    for tier in (*TIERS, "run"):
        facts = [_run_facts(run) if tier == "run" else dict(flat("", run.body["environment"][tier])) for run in runs]
        for name in dict.fromkeys(key for each in facts for key in each):
            values = tuple(each.get(name, ABSENT) for each in facts)
            momentary = any(f"{tier}.{name}".startswith(prefix) for prefix in MOMENTARY)
            if len(set(values)) > 1 and not momentary:
                found.append(Difference(tier, name, values))
    return found


def machine(run: Run) -> str:
    """The id of the machine a run was made on."""
    return str(run.body["environment"]["identity"].get("machine", "unknown"))


def same_hardware(runs: Sequence[Run]) -> bool:
    """Whether identity is the same in all runs, so that seconds compare."""
    return all(dict(flat("", run.body["environment"]["identity"])) == dict(flat("", runs[0].body["environment"]["identity"]))
               for run in runs)


def equal_workloads(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """(workloads of all runs in one version, "name: versions 1, 2" for each that all have and that changed)."""
    names = [n for n in runs[0].body["workloads"] if all(n in run.body["workloads"] for run in runs)]
    equal, changed = [], []
    for name in names:
        versions = [run.body["workloads"][name]["version"] for run in runs]
        if len(set(versions)) == 1:
            equal.append(name)
        else:
            changed.append(f"{name}: versions {', '.join(str(v) for v in versions)}")
    return equal, changed


def _engine_changes(runs: Sequence[Run]) -> list[str]:
    """Drivers that ran in different engine classes: their times are of different kinds."""
    found = []
    for slug in dict.fromkeys(slug for run in runs for slug in run.drivers):
        engines = list(dict.fromkeys(run.drivers[slug].engine for run in runs if slug in run.drivers))
        if len(engines) > 1:
            found.append(f"{slug} ran in different engine classes ({', '.join(engines)}); its times are not compared")
    return found


def compare(runs: Sequence[Run]) -> Likeness:
    """What may be compared between `runs` (at least one), and what stands against it."""
    equal, changed = equal_workloads(runs)
    suites = list(dict.fromkeys(_run_facts(run)["suite"] for run in runs))
    refusals, cautions = [], []
    if len(suites) > 1:
        refusals.append(f"the suites differ ({', '.join(suites)}): the same names mean different work")
    if not equal:
        refusals.append("they have no workload of the same version in common")
    kinds = {run.body["device"]["kind"] for run in runs}
    if "folder" in kinds and len(kinds) > 1:
        refusals.append("one was measured without root, on a folder of a file system that others use too, another on a device: nothing of them compares")
    hardware = same_hardware(runs)
    if not hardware:
        names = [d.name for d in differences(runs) if d.tier == "identity"]
        cautions.append(f"the hardware differs ({', '.join(names)}): only ratios to native compare, seconds do not")
    if changed:
        cautions.append("left out, because their definition changed: " + "; ".join(changed))
    cautions += _engine_changes(runs)
    return Likeness(hardware, tuple(refusals), tuple(cautions), tuple(equal), tuple(differences(runs)))


def rows(found: Iterable[Difference]) -> list[tuple[str, ...]]:
    """(tier, name, value of each run …) for a table."""
    return [(d.tier, d.name, *d.values) for d in found]
