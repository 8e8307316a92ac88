"""What was run and where, and what a reader should be warned of: shared by all outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import measure, text
from .comparison import Comparison
from .statistics import INFERENCE_BLOCKS_MIN, paired_log_ratio

NOISE_WARNING = 0.10
PRESSURE_WARNING = 20
STEAL_WARNING = 2.0  # per cent of all processors' time (METHOD d.1)
SETTLED_SHARE = 0.8


@dataclass(frozen=True)
class Caution:
    """Something that weakens the result, and what to do about it."""

    what: str
    remedy: str


def blocks_words(comparison: Comparison) -> str:
    """'5 blocks: ranges, no inference' or '9 blocks: 95 % intervals'."""
    body = comparison.run.body
    done, planned = body["blocks_done"], body["blocks_planned"]
    count = f"{done}" if done == planned else f"{done} of {planned}"
    plural = "" if done == 1 and done == planned else "s"
    return f"{count} block{plural}: " + ("95 % intervals" if comparison.inference else "ranges only, no inference")


def noise_words(comparison: Comparison) -> str:
    """The noise floor as a sentence fragment."""
    floor = comparison.noise_floor
    if floor is None:
        return "unknown (needs 3 blocks)"
    return f"{text.percent(floor)}: smaller differences are not visible in this run"


def device_words(device: dict[str, Any]) -> str:
    """'loop', 'real', or what a run inside user-mode Linux or without root had."""
    if device["kind"] == "folder":
        return f"no (a folder on {device.get('file_system', 'the host')})"
    return "ubd (image file)" if device["kind"] == "ubd" else str(device["kind"])


def figure_caption(comparison: Comparison, engine: str = "") -> str:
    """What every picture says of itself, wherever it is shown: engine class (all of the run by default), device, blocks."""
    run = comparison.run
    return f"{engine or ' and '.join(run.engines)} engines, {device_words(run.body['device'])} device, {blocks_words(comparison)}"


def headline(comparison: Comparison) -> list[str]:
    """The few words that say which machine, when, and how often: for the top of a page."""
    run = comparison.run
    identity, version = run.body["environment"]["identity"], run.body["environment"]["version"]
    device = run.body["device"]
    model = (identity.get("device") or {}).get("model", "")
    memory = f", {identity['ram_gib']} GiB" if "ram_gib" in identity else ""
    return [f"{version.get('distribution', 'unknown system')}, kernel {version.get('kernel_release', 'unknown')}",
            f"{run.context['num_cpus']} × {identity.get('cpu_model') or 'CPU unknown'}{memory}",
            "loop device (image file)" if device["kind"] == "loop" else
            "image file under user-mode Linux" if device["kind"] == "ubd" else
            f"without root: a folder on {device.get('file_system', 'the host')}" if device["kind"] == "folder" else f"device {model}".strip(),
            str(run.context["date"])[:16].replace("T", " "),
            f"suite {run.body['suite']['name']} {run.body['suite']['version']}, profile {run.body['profile']}, {blocks_words(comparison)}"]


def header(comparison: Comparison) -> list[tuple[str, str]]:
    """(name, value) pairs: machine, kernel, device, time, blocks, seed, noise floor."""
    run = comparison.run
    body, context = run.body, run.context
    environment = body["environment"]
    identity, version = environment["identity"], environment["version"]
    device = body["device"]
    model = (identity.get("device") or {}).get("model", "")
    kind = "loop (embedded image file)" if device["kind"] == "loop" else \
        "ubd (image file under user-mode Linux)" if device["kind"] == "ubd" else \
        f"none, without root: a folder on {device.get('file_system', 'the host')}" if device["kind"] == "folder" else f"real device {model}".strip()
    direct = "direct I/O" if device["direct_io"] else "buffered I/O"
    cpu = identity.get("cpu_model") or "CPU unknown"
    pairs: list[tuple[str, Any]] = [
        ("Host", context["host_name"]),
        ("System", f"{version.get('distribution', 'unknown')}, kernel {version.get('kernel_release', 'unknown')}"),
        ("Processor", f"{context['num_cpus']} × {cpu}, {identity.get('architecture', '')}".rstrip(", ")),
        ("Memory", f"{identity['ram_gib']} GiB" if "ram_gib" in identity else "unknown"),
        ("Virtualisation", identity.get("virtualisation", "unknown")),
        ("Device", f"{kind}, {text.human_bytes(device['size_bytes'])}, {direct}, {device['path']}"),
        ("Date", context["date"]),
        ("Profile", body["profile"]),
        ("Blocks", blocks_words(comparison)),
        ("Seed", body["seed"]),
        ("Noise floor", noise_words(comparison)),
        ("Suite", f"{body['suite']['name']} {body['suite']['version']}, sbench {version.get('sbench', 'unknown')} "
                  f"({version.get('sbench_commit', 'commit unknown')})"),
        ("Command", body["command"]),
    ]
    return [(name, str(value)) for name, value in pairs]


def skipped(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(driver or cell, reason, remedy) of everything that was asked for and could not run."""
    rows = [(skip.get("cell") or skip["driver"], skip["detail"], skip["remedy"]) for skip in comparison.run.body["skips"]]
    for driver in comparison.run.failed_check:
        rows.append((driver.label, "failed the semantic check, so it is not ranked: " + "; ".join(driver.differences[:3]),
                     "see the differences in the result file; this is a bug in the driver or in the kernel"))
    return rows


FUSE_COST_TITLE = "What FUSE itself costs: the same work on the same kind of pool, in process and mounted"
FUSE_COST_COLUMNS = ("each", "in process", "mounted", "ratio, interval")


def fuse_cost(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """FUSE_COST_COLUMNS of the engine that can be used both ways; medians, and the paired ratio with its interval. Empty without one."""
    rows = []
    for driver in comparison.run.drivers.values():
        for operation, inside, mounted in driver.fuse_cost:
            ratio = paired_log_ratio(np.log(mounted) - np.log(inside)).exp()
            rows.append((operation, text.human_time(float(np.median(inside)) * 1e-6), text.human_time(float(np.median(mounted)) * 1e-6),
                         f"{text.ratio(ratio.value)} ({text.ratio(ratio.low)} to {text.ratio(ratio.high)})"))
        if rows:
            break  # it does not depend on the variant's options
    return rows


def failures(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """(case, block, phase, detail) of every failed sample."""
    return [(f["cell"], str(f["block"]), f["phase"], f["detail"]) for f in comparison.run.body["failures"]]


def _flag_counts(comparison: Comparison) -> dict[str, int]:
    counts: dict[str, int] = {}
    for blocks in comparison.run.samples.values():
        for sample in blocks.values():
            for flag in sample.flags:
                counts[flag] = counts.get(flag, 0) + 1
    return counts


def warnings(comparison: Comparison) -> list[Caution]:
    """Everything that weakens the result, worst first."""
    run = comparison.run
    body = run.body
    found: list[Caution] = []
    if not body["complete"]:
        found.append(Caution(f"The run was cut short: {body['blocks_done']} of {body['blocks_planned']} blocks are finished.",
                              "Finish it with sbench run --resume and the folder of this result."))
    if body["failures"]:
        found.append(Caution(f"{len(body['failures'])} sample{'s' if len(body['failures']) != 1 else ''} failed and are left out.",
                              "See the list of failures; they are errors, not slow results."))
    for driver in run.drivers.values():
        if driver.deviations:
            found.append(Caution(f"{driver.label} does not do all that a plain directory does: {'; '.join(driver.deviations)}.",
                                  "Its numbers are shown all the same; whether that matters is yours to judge."))
    if measure.inside(run):
        found.append(Caution("The run happened inside user-mode Linux, where system calls cost about a hundred times the usual: drivers are ranked by device bytes.",
                              "Bytes, space and counts hold for any machine; for times, run on the machine's own kernel."))
    if body["device"]["kind"] == "folder":
        found += [Caution(f"Measured without root, on a folder instead of a device: {limit}.", "As root, each driver has a device to itself.")
                  for limit in body["device"].get("limits", ())]
    if not comparison.inference:
        found.append(Caution(f"Fewer than {INFERENCE_BLOCKS_MIN} blocks: brackets are ranges of what was seen, not confidence intervals.",
                              "For inference: --profile standard, or --blocks 9."))
    floor = comparison.noise_floor
    if floor is not None and floor > NOISE_WARNING:
        found.append(Caution(f"This machine is noisy: {'differences under ' + text.percent(floor) if floor <= 1 else 'even twofold differences'} are not visible.",
                              "Stop other work on it, or add blocks."))
    flags = _flag_counts(comparison)
    if flags.get("cache_not_cold"):
        found.append(Caution(f"{flags['cache_not_cold']} cold samples began with part of the data still cached.",
                              "Treat their cold times as lower bounds."))
    if flags.get("quiesce_timeout"):
        found.append(Caution(f"In {flags['quiesce_timeout']} samples the device did not come to rest in time.",
                              "Their device bytes may miss late writes; stop other users of the device."))
    unsteady = sum(s.unstable for by_key in comparison.by_case.values() for r in by_key.values() for s in r.standings.values())
    if unsteady:
        found.append(Caution(f"{unsteady} cells are unsteady (~): their own blocks differ by more than 10 %.",
                              "Add blocks with --blocks, or look at the range before trusting the median."))
    version, state = body["environment"]["version"], body["environment"]["state"]
    if version.get("build_type") not in (None, "Release", "RelWithDebInfo"):
        found.append(Caution(f"sbench was built as {version['build_type']}.", "Build the release preset before comparing."))
    governor = state.get("governor", "none")
    if governor not in ("none", "performance", "unknown"):
        found.append(Caution(f"The CPU frequency governor is {governor}.", "Set it to performance for steadier times."))
    return found


@dataclass(frozen=True)
class Health:
    """One thing the machine did well or badly during the run; `good` colours its badge."""

    name: str
    words: str
    good: bool


def health(comparison: Comparison) -> list[Health]:
    """Badges for the header: control's noise, cold caches, quiet device, pressure and steal where the result has them."""
    flags, samples = _flag_counts(comparison), sum(len(blocks) for blocks in comparison.run.samples.values())
    floor = comparison.noise_floor
    found = []
    if floor is not None:
        found.append(Health("noise floor", text.percent(floor), floor <= NOISE_WARNING))
    from .figures import stability

    steady, known = stability.settled(comparison)
    if known:
        found.append(Health("settled", f"{steady} of {known} rows", steady >= SETTLED_SHARE * known))
    cold = flags.get("cache_cold_verified", 0) + flags.get("cache_not_cold", 0)
    if cold:
        found.append(Health("cold caches verified", f"{flags.get('cache_cold_verified', 0)} of {cold}", not flags.get("cache_not_cold")))
    late = flags.get("quiesce_timeout", 0)
    found.append(Health("device quiet after each sample", f"{samples - late} of {samples}", late == 0))
    state = comparison.run.body["environment"]["state"]
    cpu = (state.get("pressure_avg10") or {}).get("cpu")
    if isinstance(cpu, (int, float)):
        found.append(Health("CPU pressure at the start", f"{cpu:.0f} %", cpu < PRESSURE_WARNING))
    during = comparison.run.body["environment"].get("during") or {}
    if "steal_percent" in during:
        found.append(Health("processor time taken by the host's others", f"{during['steal_percent']:.1f} %", during["steal_percent"] < STEAL_WARNING))
    if "throttles" in during:
        found.append(Health("slowed down by heat", f"{during['throttles']} times", during["throttles"] == 0))
    failed = len(comparison.run.body["failures"])
    found.append(Health("failed samples", str(failed), failed == 0))
    return found


METHOD_NOTES = (
    "Every block formats each driver afresh, in an order drawn from the seed; a native control (a plain directory on the same device) runs in every block.",
    "Ratios are paired by block: the estimate is the Hodges-Lehmann centre of the logarithms, the interval inverts the signed-rank test exactly (6 to 25 blocks) "
    "or resamples blocks (more). Below 6 blocks the brackets are the smallest and largest ratio seen.",
    "Two drivers tie when the interval of their ratio includes 1, lies within ±2 %, or when the difference does not survive the correction for the number of comparisons "
    "(Benjamini-Hochberg, 5 %).",
    "A row or use case is the geometric mean over the cases that all its drivers finished; the number of cases is shown. Use cases give each workload the same weight.",
    "Times are ranked within one engine class only (kernel, userspace); drivers inside user-mode Linux (uml) are ranked by bytes written to and read from the device. Device bytes, space and inodes are counts and compare across classes.",
    "Device bytes come from the counters of the lowest device, from the first timed phase until the device is quiet after the last.",
    "The noise floor is the half-width a comparison of the control with itself would have, from its spread between blocks (median over cases).",
    "Unsteady (~): 1.4826 · MAD of a driver's own log times over 10 %. Nothing is dropped as an outlier.",
)

GLOSSARY = (
    ("block", "one pass over all drivers and cases on freshly formatted stores; the unit of repetition"),
    ("case", "a workload with its parameters, apart from the driver"),
    ("control", "the native driver: a plain directory on the same device; ratios to it show what a storage driver adds. Making a layer of it copies the parent, "
                "so where that is timed (builds, starts) a driver can be faster than native"),
    ("copy-up", "copying a file of the image into the container's layer at its first change"),
    ("cold, warm", "whether the files were out of the page cache, or in it, when the timed part began"),
    ("device bytes", "what the kernel's counters of the lowest block device say was written or read"),
    ("durability", "fsync-per-op: each write is synced inside its time; sync-at-end: one sync at the end is timed; none: no sync is timed"),
    ("engine class", "kernel: the real facility; uml: the real facility inside user-mode Linux; userspace: sbench's reference implementation"),
    ("inference", "a statement that holds beyond this run with 95 % confidence; needs 6 blocks"),
    ("tie", "a difference this run cannot tell from none"),
    ("write amplification", "bytes written to the device per byte the application wrote"),
)
