"""SYNTHETIC nights for tests of the gate: invented numbers, no measurement. Seeded, so that every run sees the same."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from reports.history.night import CONFIRMS, Cell, Night

CASES = ("layer_build.build/image:small", "layer_build.diff/files:500", "layer_build.remove/image:small", "copy_up.first_write/size:64M")
DRIVERS = ("overlay2", "btrfs")
WRITTEN = 67_239_936.0
_FACTS = {
    "profile": "quick", "seed": 1, "command": "sbench run", "blocks_planned": 9, "blocks_done": 9, "complete": True, "control": {"driver": "native", "paired": True},
    "request": {"profile": "quick", "seed": 1, "storage_opts": [], "device": "", "image_dir": "/var/tmp", "image_size": "8G", "in": "host", "inject": ""},
    "device": {"kind": "loop", "path": "/dev/loop0", "size_bytes": 2**33, "direct_io": True},
    "metric_defs": {"real_time": {"unit": "ms", "better": "lower", "noise": "sampled", "gate": True},
                    "bytes_dev_written": {"unit": "B", "better": "lower", "noise": "exactish", "gate": True}},
    "workloads": {}, "skips": [], "failures": [],
    "drivers": [{"slug": slug, "name": slug, "label": slug, "engine": "kernel"} for slug in ("native", *DRIVERS)],
    "environment": {"identity": {"machine": "m-synthetic", "cpus": 2, "ram_gib": 4, "cpu_model": "synthetic"}, "version": {"kernel_release": "6.1.0", "sbench": "1"},
                    "state": {"governor": "none"}},
}


def night(index: int, rng: np.random.Generator, slower: dict[str, float] | None = None, written: dict[str, float] | None = None, machine: float = 1.0,
          block_noise: float = 0.03, night_noise: float = 0.01, blocks: int = 9, **changes) -> Night:
    """One night. `slower`: series → factor of its time; `written`: series → factor of its device bytes; `machine`: factor of everything."""
    cells = []
    weather = machine * np.exp(rng.normal(0, 0.02, blocks))
    for number, case in enumerate(CASES):
        for driver in ("native", *DRIVERS):
            base = 0.02 * (number + 1) * (1.0 if driver == "native" else 1.5)
            own = rng.normal(0, night_noise) if driver != "native" else 0.0
            cell = Cell(case, driver, "kernel", 1, tuple(range(blocks)), (), {})
            factor = (slower or {}).get(cell.series, 1.0)
            seconds = base * factor * weather * np.exp(own + rng.normal(0, block_noise, blocks))
            bytes_written = (WRITTEN + 4096 * rng.integers(0, 3, blocks)) * (written or {}).get(cell.series, 1.0)
            cells.append(dataclasses.replace(cell, seconds=tuple(map(float, seconds)), metrics={"bytes_dev_written": tuple(map(float, bytes_written))}))
    facts = copy.deepcopy(_FACTS)
    facts["environment"]["version"]["kernel_release"] = changes.pop("kernel", "6.1.0")
    date = f"2026-{1 + index // 28:02d}-{1 + index % 28:02d}T03:00:00Z"
    return dataclasses.replace(Night(f"run-{index:03d}", date, "nightly", "m-synthetic", "f00d", "default 1", "", facts, tuple(cells)), **changes)


def rerun(of: Night, rng: np.random.Generator, **how) -> Night:
    """A confirmation of `of`."""
    again = night(0, rng, **how)
    return dataclasses.replace(again, run_id=of.run_id + "-again", date=of.date, kind=CONFIRMS + of.run_id)


def nights(count: int, seed: int = 1, **how) -> list[Night]:
    """`count` nights on which nothing changes."""
    rng = np.random.default_rng(seed)
    return [night(i, rng, **how) for i in range(count)]
