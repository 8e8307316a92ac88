"""Makes a SYNTHETIC result file for tests: plausible shape, invented numbers, no measurement.

`make(...)` returns the document; run as a program it prints one. Host and label
say "synthetic" so that no report of it can be mistaken for a measurement.
"""

from __future__ import annotations

import json
import random
import sys

from reports import histogram

KIB, MIB = 1024, 1024**2
SIZES = {"64k": 64 * KIB, "1m": MIB, "16m": 16 * MIB, "64m": 64 * MIB}
# slug, name, label, copies whole files, full copy at prepare, shares page cache, engine
DRIVERS = (
    ("native", "native", "native", False, False, False, "kernel"),
    ("overlay2", "overlay2", "overlay2", True, False, True, "kernel"),
    ("overlay2.backing-xfs", "overlay2", "overlay2:backing=xfs", False, False, True, "kernel"),
    ("overlay2.backing-btrfs", "overlay2", "overlay2:backing=btrfs", False, False, True, "kernel"),
    ("overlay2.metacopy-on", "overlay2", "overlay2:metacopy=on", True, False, True, "kernel"),
    ("overlay", "overlay", "overlay", True, False, True, "kernel"),
    ("btrfs", "btrfs", "btrfs", False, False, False, "kernel"),
    ("vfs", "vfs", "vfs", False, True, False, "kernel"),
    ("aufs", "aufs", "aufs", True, False, True, "userspace"),
    ("zfs", "zfs", "zfs", False, False, False, "userspace"),
    ("null", "null", "null", False, False, False, "kernel"),
)
TRIGGERS = ("append", "chmod", "chown", "link", "mmap_write", "open", "patch", "rename", "setxattr", "truncate", "utimes")
WORKLOADS = {
    "copy_up.first_write": ("first synced write of a few KiB to a file of a lower layer", "cache", "fsync-per-op"),
    "copy_up.chown_tree": ("recursive chown of many small lower files", "warm", "sync-at-end"),
    "copy_up.rename_dir": ("rename of a lower directory", "warm", "sync-at-end"),
    "copy_up.tree_append": ("a short append to each of many small lower files", "warm", "sync-at-end"),
    "copy_up.triggers": ("one operation on a lower file", "warm", "fsync-per-op"),
    "layer_build.build": ("a Dockerfile's steps on a pulled base", "warm", "sync-at-end"),
    "layer_build.depth": ("stacking layers", "warm", "none"),
    "layer_build.diff": ("packing a container's changes", "warm", "none"),
    "layer_build.pull": ("the layers of an application image, unpacked in order", "warm", "sync-at-end"),
    "layer_build.remove": ("removal of an application image's layers", "warm", "sync-at-end"),
    "cache_reuse.containers": ("N containers started from one image", "cold", "none"),
    "cache_reuse.rebuild": ("building again after one step changed", "warm", "sync-at-end"),
    "cache_reuse.two_apps": ("a second application on the same layers", "warm", "sync-at-end"),
    "harness.overhead": ("empty operations and phases", "warm", "none"),
    "peers.benchsuite": ("containerd's snapshotter benchmark", "warm", "none"),
    "peers.storage_tasks": ("docker-storage-benchmark", "warm", "none"),
}


def _histogram(values_ns: list[int]) -> dict:
    counts: dict[int, int] = {}
    for value in values_ns:
        counts[histogram.bucket_of(value)] = counts.get(histogram.bucket_of(value), 0) + 1
    return {"unit": "ns", "kind": "service", "load": "closed", "count": len(values_ns), "min": min(values_ns),
            "max": max(values_ns), "sum": sum(values_ns),
            "buckets": {"sub_bits": 7, "counts": [list(pair) for pair in sorted(counts.items())]}}


class _Maker:
    """Invents the cells of one driver; `noise` is the relative spread between blocks."""

    def __init__(self, driver: tuple, seed: int, block: int, noise: float) -> None:
        self.slug, self.name, _, self.copies, self.full_copy, self.shares, self.engine = driver
        self.rng = random.Random(f"{seed}/{block}/{self.slug}")
        self.drift = 1 + 0.05 * random.Random(f"{seed}/{block}").random()
        self.noise = noise
        self.factor = {"native": 1.0, "overlay2": 1.05, "overlay": 1.2, "btrfs": 1.3, "vfs": 1.1, "aufs": 2.5,
                       "zfs": 2.0, "null": 0.001}[self.name]

    def time(self, seconds: float) -> float:
        return seconds * self.factor * self.drift * max(0.2, self.rng.gauss(1, self.noise))

    def copied(self, size: int) -> int:
        return size if self.copies else 4 * KIB

    def cells(self):
        """Yields (workload, params, phases {name: seconds}, latency, metrics)."""
        if self.slug == "null":
            ns = self.rng.uniform(40, 44)
            yield ("harness.overhead", {"operations": "10000"}, {"operations": ns * 1e-5, "phase": 1.5e-4}, {},
                   {"overhead_operation_ns": ns, "overhead_phase_ns": self.rng.uniform(1400, 1500)})
            return
        yield from self._first_writes()
        yield from self._trees()
        yield from self._layers()
        yield from self._containers()

    def _first_writes(self):
        for text, size in SIZES.items():
            for depth in ("1", "8"):
                for cache in ("cold", "warm"):
                    seconds = self.time(0.0006 + self.copied(size) / 900e6 + (0.0015 if cache == "cold" else 0))
                    yield ("copy_up.first_write", {"size": text, "touched": "4k", "depth": depth, "cache": cache},
                           {"first_write": seconds}, {"open": _histogram([int(seconds * 0.7e9)])},
                           {"bytes_app_written": 4096, "bytes_dev_written": self.copied(size) + 40 * KIB})
        for size_text in ("16m", "64m"):
            for op in TRIGGERS:
                lazy = op in ("chown", "chmod", "utimes", "setxattr", "link", "rename") and "metacopy" in self.slug
                copied = 24 * KIB if lazy or not self.copies else SIZES[size_text]
                yield ("copy_up.triggers", {"op": op, "size": size_text}, {"trigger": self.time(0.0005 + copied / 900e6)},
                       {}, {"bytes_app_written": 4096 if op in ("append", "patch", "mmap_write") else 0,
                            "bytes_dev_written": copied, "copied_bytes": copied, "copied": int(copied > 8 * MIB)})

    def _trees(self):
        yield ("copy_up.chown_tree", {"files": "1000"}, {"chown": self.time(0.05), "sync": self.time(0.02)}, {},
               {"bytes_app_written": 0, "bytes_dev_written": 6 * MIB if self.copies else MIB})
        yield ("copy_up.rename_dir", {"files": "1000"}, {"rename": self.time(0.002 if not self.shares else 0.2)}, {},
               {"bytes_app_written": 0, "bytes_dev_written": 6 * MIB if self.shares else MIB, "exdev": int(self.shares)})
        for workers in ("1", "4"):
            yield ("copy_up.tree_append", {"files": "1000", "workers": workers}, {"append": self.time(0.08)}, {},
                   {"bytes_app_written": 16000, "bytes_dev_written": 9 * MIB})

    def _layers(self):
        scale = 3.0 if self.full_copy else 1.0
        steps = {f"{step}.{phase}": self.time(seconds * (scale if phase == "prepare" else 1))
                 for step in ("packages", "dependencies", "code", "config")
                 for phase, seconds in (("prepare", 0.05), ("mount", 0.002), ("write", 0.3), ("unmount", 0.01),
                                        ("diff", 0.15), ("commit", 0.005))}
        yield ("layer_build.build", {"image": "full"}, steps | {"sync": self.time(0.1)}, {},
               {"bytes_app_written": 60 * MIB, "bytes_dev_written": int(70 * MIB * scale)})
        yield ("layer_build.depth", {"layers": "120"}, {"stack": self.time(1.2)}, {},
               {"depth_reached_layers": 120, "bytes_dev_written": 12 * MIB})
        for files in ("1000", "4000"):
            for changed in ("10", "200"):
                seconds = 0.001 + int(changed) * 1e-5 + (0 if self.shares else int(files) * 2e-5)
                yield ("layer_build.diff", {"files": files, "changed": changed}, {"diff": self.time(seconds)}, {},
                       {"bytes_dev_written": 0, "image_files": int(files), "changed_files": int(changed)})
        yield ("layer_build.pull", {"image": "full"}, {"prepare": self.time(0.1 * scale), "apply": self.time(1.1)}, {},
               {"bytes_app_written": 180 * MIB, "bytes_dev_written": int(190 * MIB * scale)})
        yield ("layer_build.remove", {"image": "small"}, {"remove": self.time(0.2)}, {}, {"bytes_dev_written": MIB})

    def _containers(self):
        image = 36 * MIB
        for n in (1, 4, 16):
            each = 0.02 + (0.4 if self.full_copy else 0) + 0.1 / (n if self.shares else 1)
            yield ("cache_reuse.containers", {"containers": str(n), "image": "small"},
                   {"start": sum(self.time(each) for _ in range(n))},
                   {"start": _histogram([int(self.time(each) * 1e9) for _ in range(n)])},
                   {"bytes_app_read": n * 9 * MIB, "bytes_dev_read": 9 * MIB * (1 if self.shares else n),
                    "bytes_dev_written": image * n if self.full_copy else 64 * KIB * n,
                    "page_cache_bytes_per_container": 9 * MIB / (n if self.shares else 1),
                    "space_bytes_per_container": image if self.full_copy else 16 * KIB,
                    "inodes_per_container": 3000 if self.full_copy else 0 if self.name == "btrfs" else 6})
        for step in ("dependencies", "code", "config"):
            yield ("cache_reuse.rebuild", {"step": step, "image": "small"}, {"rebuild": self.time(0.3)}, {},
                   {"bytes_dev_written": 20 * MIB, "cache_hits": 3, "cache_misses": 2})
        yield ("cache_reuse.two_apps", {"image": "small"}, {"second_build": self.time(0.2)}, {},
               {"bytes_dev_written": 10 * MIB, "cache_hits": 3, "cache_misses": 2})


def peers_cells(maker: _Maker):
    """Of the peers' workloads: one at the published size, one at a sixteenth; not among the cells of every run."""
    phases = {"prepare": 0.03, "mount": 0.02, "write": 0.8, "unmount": 0.1, "commit": 0.02}
    yield ("peers.benchsuite", {"scale": "1"}, {name: maker.time(s) for name, s in phases.items()}, {}, {})
    yield ("peers.storage_tasks", {"task": "append-tree", "workers": "10", "scale": "16"}, {"append": maker.time(0.4)}, {}, {})


def _entry(maker: _Maker, block: int, order: int, cell: tuple, blocks: int) -> dict:
    workload, params, phases, latency, metrics = cell
    name = "/".join([workload, maker.slug, *(f"{k}:{v}" for k, v in params.items())])
    defaults = {"bytes_app_written": 0, "bytes_app_read": 0, "bytes_dev_written": 0, "bytes_dev_read": 0,
                "dev_writes": 1, "dev_reads": 0, "dev_flushes": 1, "bytes_dev_discarded": 0, "cpu_user_s": 0.001,
                "cpu_sys_s": 0.002, "iowait_s": 0.0, "major_faults": 0, "minor_faults": 3, "ctx_switches": 2,
                "space_bytes": 0, "inodes": 0, "page_cache_bytes": 0}
    return {"name": name, "run_name": name, "run_type": "iteration", "repetitions": blocks, "repetition_index": block,
            "threads": 1, "iterations": 1, "real_time": sum(phases.values()) * 1e3, "cpu_time": 3.0, "time_unit": "ms",
            "family_index": 0, "per_family_instance_index": 0, "label": "synthetic",
            "sbench": {"block": block, "order": order, "started": "2026-01-01T00:00:00.000Z", "workload": workload,
                       "driver": maker.slug, "engine": maker.engine, "params": params,
                       "phases": {n: {"seconds": s, "count": 1, "timed": True} for n, s in phases.items()},
                       "latency": latency, "metrics": defaults | metrics, "flags": []}}


def _driver(driver: tuple) -> dict:
    slug, name, label, copies, full_copy, shares, engine = driver
    return {"slug": slug, "name": name, "label": label, "summary": "synthetic", "options": dict(o.split("=") for o in label.partition(":")[2].split(",") if o), "engine": engine,
            "capabilities": {"stores_layers": name != "null", "native_diff": shares, "copies_whole_file": copies,
                             "copies_at_prepare": full_copy, "shares_page_cache": shares, "depth_layers_max": 128},
            "semantic_check": "not-run" if name == "null" else "passed", "differences": [], "status": []}


def make(drivers: tuple[str, ...] = ("native", "overlay2", "overlay2.backing-xfs", "btrfs", "vfs", "null"),
         blocks: int = 9, seed: int = 7, noise: float = 0.02, workloads: tuple[str, ...] = (), peers: bool = False) -> dict:
    """The document. `workloads` limits the families or workloads; empty: all. `peers` adds peers_cells()."""
    chosen = [d for d in DRIVERS if d[0] in drivers]
    entries = []
    for block in range(blocks):
        for driver in chosen:
            maker = _Maker(driver, seed, block, noise)
            more = peers_cells(maker) if peers and maker.slug != "null" else ()
            for order, cell in enumerate([*maker.cells(), *more]):
                if not workloads or any(cell[0].startswith(w) for w in workloads):
                    entries.append(_entry(maker, block, order, cell, blocks))
    names = list(dict.fromkeys(e["name"] for e in entries))
    for entry in entries:
        entry["family_index"] = names.index(entry["name"])
    identity = {"machine": "m-synthetic", "cpu_model": "synthetic", "cpus": 2, "ram_gib": 4, "virtualisation": "none",
                "architecture": "none", "device": {"kind": "loop"}}
    return {
        "context": {"date": "2026-01-01T00:00:00.000Z", "host_name": "synthetic", "executable": "sbench", "num_cpus": 2,
                    "mhz_per_cpu": 1000, "cpu_scaling_enabled": False, "caches": [], "load_avg": [0.0, 0.0, 0.0],
                    "library_build_type": "release", "library_version": "1.7.1", "json_schema_version": 1,
                    "sbench_schema": "1.0"},
        "benchmarks": entries,
        "sbench": {
            "schema": "sbench.result", "schema_version": "1.0", "run_id": "synthetic", "kind": "test",
            "profile": "quick", "seed": seed, "order": "blocked-shuffle", "blocks_planned": blocks, "blocks_done": blocks,
            "complete": True, "command": "sbench (synthetic numbers, no measurement)",
            "control": {"driver": "native", "paired": True},
            "suite": {"name": "default", "version": 1, "hash": "sha256:0"},
            "device": {"kind": "loop", "path": "/dev/loop-synthetic", "size_bytes": 8 * 1024**3, "direct_io": True},
            "metric_defs": {"real_time": {"unit": "ms", "better": "lower", "noise": "sampled", "gate": True},
                            "bytes_dev_written": {"unit": "B", "better": "lower", "noise": "exactish", "gate": True},
                            "inodes": {"unit": "1", "better": "lower", "noise": "exactish", "gate": True}},
            "workloads": {name: {"version": 1, "summary": s, "cache": c, "durability": d, "params": {}}
                          for name, (s, c, d) in WORKLOADS.items() if any(e["sbench"]["workload"] == name for e in entries)},
            "drivers": [_driver(d) for d in chosen],
            "skips": [{"driver": "devicemapper", "code": "unavailable", "detail": "the kernel has no dm-thin target",
                       "remedy": "load the module dm_thin_pool"}],
            "failures": [],
            "series": [{"key": f"sha256:{i}", "name": name, "machine": "m-synthetic"} for i, name in enumerate(names)],
            "environment": {"identity": identity, "version": {"kernel_release": "synthetic", "distribution": "synthetic"},
                            "state": {"governor": "none"}},
        },
    }


if __name__ == "__main__":
    json.dump(make(), sys.stdout, indent=1)
