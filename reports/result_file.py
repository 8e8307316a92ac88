"""Reads a result file: checks it, then offers its samples by case, driver and block.

A *case* is a workload with its parameters, apart from the driver; a *sample* is one
case on one driver in one block. Every way a file can be bad ends in a ReportError
with one line that says what to do.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from . import text
from .errors import NothingToReport, ReportError

SCHEMA_PATH = Path(__file__).with_name("result.schema.json")
SCHEMA_MAJOR = 1
DEVIATES = "†"  # behind the label of a driver that is timed in spite of declared faults
ENGINE_CLASSES = ("kernel", "uml", "userspace")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class CaseId:
    """A workload and its parameters, in the order of the case's name."""

    workload: str
    params: tuple[tuple[str, str], ...]

    def param(self, name: str) -> str | None:
        """The parameter's value as text."""
        return dict(self.params).get(name)

    def size(self, name: str) -> float | None:
        """The parameter as bytes or a count."""
        value = self.param(name)
        return None if value is None else text.parse_size(value)

    def without(self, *names: str) -> "CaseId":
        """The case with some parameters left open: a key to group by."""
        return CaseId(self.workload, tuple(p for p in self.params if p[0] not in names))

    @property
    def key(self) -> str:
        """workload/param:value/…"""
        return "/".join([self.workload, *(f"{name}:{value}" for name, value in self.params)])

    @property
    def sort_key(self) -> tuple:
        return (self.workload, tuple(text.natural_key(value) for _, value in self.params))


@dataclass(frozen=True)
class Sample:
    """One case on one driver in one block. Times in seconds; metrics as stored."""

    case: CaseId
    driver: str
    block: int
    seconds: float
    metrics: dict[str, float]
    phases: dict[str, dict[str, Any]]
    latency: dict[str, dict[str, Any]]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Driver:
    """A driver variant that took part."""

    slug: str
    name: str
    label: str
    engine: str
    semantic_check: str
    differences: tuple[str, ...]
    capabilities: dict[str, Any] = field(hash=False)
    options: dict[str, str] = field(hash=False)
    status: tuple[tuple[str, str], ...] = ()
    deviations: tuple[str, ...] = ()  # declared faults that the semantic check saw and excused; the label carries DEVIATES
    fuse_cost: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()  # (operation, µs in process, µs mounted), a value a turn
    engines_differ: str = ""  # why the device bytes of the driver's own engine are not the real one's

    @property
    def stores_layers(self) -> bool:
        return bool(self.capabilities["stores_layers"])

    @property
    def copies_at_prepare(self) -> bool:
        """Whether making a container copies the whole image."""
        return bool(self.capabilities.get("copies_at_prepare"))

    @property
    def drops_syncs(self) -> bool:
        """Whether a crash may lose what the application synced."""
        return self.options.get("volatile") == "on"


@dataclass
class Run:
    """A loaded result file."""

    document: dict[str, Any]
    drivers: dict[str, Driver] = field(default_factory=dict)
    samples: dict[tuple[CaseId, str], dict[int, Sample]] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The `sbench` object."""
        return self.document["sbench"]

    @property
    def context(self) -> dict[str, Any]:
        return self.document["context"]

    @property
    def control(self) -> str:
        """Slug of the control driver."""
        return self.body["control"]["driver"]

    @cached_property
    def cases(self) -> list[CaseId]:
        """All cases with at least one sample, in a stable order."""
        return sorted({case for case, _ in self.samples}, key=lambda case: case.sort_key)

    def blocks(self, case: CaseId, driver: str) -> dict[int, Sample]:
        """Samples of a cell by block; empty when it has none."""
        return self.samples.get((case, driver), {})

    def cases_of(self, workload: str) -> list[CaseId]:
        """Cases of one workload."""
        return [case for case in self.cases if case.workload == workload]

    def label(self, slug: str) -> str:
        """A driver's label as the user typed it; the slug when unknown."""
        driver = self.drivers.get(slug)
        return driver.label if driver else slug

    def display(self, slug: str) -> str:
        """The label, with its engine class where the run has more than one."""
        driver = self.drivers.get(slug)
        several = len({d.engine for d in self.drivers.values() if d.stores_layers}) > 1
        return f"{self.label(slug)} [{driver.engine}]" if driver and several else self.label(slug)

    @property
    def shown(self) -> list[str]:
        """The control and all ranked slugs: what figures draw."""
        control = [self.control] if self.control in self.drivers else []
        return control + [slug for slug in self.ranked if slug != self.control]

    @property
    def ranked(self) -> list[str]:
        """Slugs that take part in rankings: neither the control, nor one that stores nothing, nor one that failed the check."""
        return [d.slug for d in self.drivers.values()
                if d.slug != self.control and d.stores_layers and d.semantic_check != "failed"]

    def ranked_in(self, engine: str) -> list[str]:
        """Ranked slugs of one engine class."""
        return [slug for slug in self.ranked if self.drivers[slug].engine == engine]

    @property
    def engines(self) -> list[str]:
        """Engine classes with at least one ranked driver."""
        return [engine for engine in ENGINE_CLASSES if self.ranked_in(engine)]

    @property
    def failed_check(self) -> list[Driver]:
        """Drivers that are shown as failed and never ranked."""
        return [d for d in self.drivers.values() if d.semantic_check == "failed"]


def _read_json(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ReportError(f"{path} is damaged or cut short (gzip); copy it again") from None
    except IsADirectoryError:
        raise ReportError(f"{path} is a folder; name the result.json in it") from None
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from None
    if not content.strip():
        raise ReportError(f"{path} is empty; the run wrote nothing into it, start it again")
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ReportError(f"{path} is no text file (byte {error.start} is not UTF-8); name a result.json of sbench") from None
    except json.JSONDecodeError as error:
        if not content.rstrip().endswith(b"}"):
            raise ReportError(f"{path} is cut short after {len(content)} bytes; finish the run with sbench run --resume DIR") from None
        raise ReportError(f"{path} is not JSON: {error.msg} in line {error.lineno}") from None
    except ValueError as error:
        raise ReportError(f"{path} is not strict JSON: {error}") from None
    except RecursionError:
        raise ReportError(f"{path} is nested too deeply to be a result of sbench") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it contains {name}")


def _check_origin(path: Path, document: Any) -> None:
    """Tells foreign and newer files apart from damaged ones before the schema speaks."""
    if not isinstance(document, dict):
        raise ReportError(f"{path} is JSON, but no result file; name a result.json of sbench")
    body = document.get("sbench")
    if not isinstance(body, dict) or body.get("schema") != "sbench.result":
        if "benchmarks" in document and "context" in document:
            raise ReportError(f"{path} is a Google Benchmark result without sbench's part; name a result.json of sbench")
        raise ReportError(f"{path} was not written by sbench run; name a result.json of sbench")
    version = str(body.get("schema_version", ""))
    major = version.split(".")[0]
    if major.isdigit() and int(major) > SCHEMA_MAJOR:
        raise ReportError(f"{path} has schema version {text.plain(version)}, this sbench reads {SCHEMA_MAJOR}.x; "
                          "report it with the newer sbench that wrote it")


def check_schema(path: Path, document: Any) -> None:
    """Raises a ReportError naming the first place that breaks the schema."""
    try:
        import jsonschema
    except ImportError:
        raise ReportError("cannot validate: python3-jsonschema is missing; install it") from None
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    first = min(jsonschema.Draft7Validator(schema).iter_errors(document),
                key=lambda error: [str(part) for part in error.absolute_path], default=None)
    if first is not None:
        place = "/".join(str(part) for part in first.absolute_path) or "the top level"
        raise ReportError(f"{path} breaks the schema at {text.plain(place)}: {text.plain(first.message)[:200]}")


def driver_of(entry: dict[str, Any]) -> Driver:
    deviations = tuple(text.plain(sentence) for sentence in entry.get("deviations", ()))
    return Driver(entry["slug"], entry["name"], text.plain(entry["label"]) + (DEVIATES if deviations else ""), entry["engine"],
                  entry["semantic_check"], tuple(entry["differences"]), entry["capabilities"], entry["options"],
                  tuple((name, value) for name, value in entry["status"]), deviations,
                  tuple((text.plain(row["operation"]), tuple(row["in_process_us"]), tuple(row["mounted_us"])) for row in entry.get("fuse_cost", ())),
                  text.plain(entry.get("engines_differ", "")))


def _sample(entry: dict[str, Any]) -> Sample:
    detail = entry["sbench"]
    named_order = [part.partition(":")[0] for part in entry["name"].split("/")[2:]]
    params = detail["params"]
    ordered = [n for n in named_order if n in params] + sorted(n for n in params if n not in named_order)
    case = CaseId(detail["workload"], tuple((name, params[name]) for name in ordered))
    return Sample(case, detail["driver"], detail["block"], entry["real_time"] * _SECONDS[entry["time_unit"]],
                  detail["metrics"], detail["phases"], detail["latency"], tuple(detail["flags"]))


def load(path: str | Path, allow_empty: bool = False) -> Run:
    """The run in `path` (a result file, or the folder of one), checked against the schema.

    Raises ReportError for a file that cannot be reported and NothingToReport for a
    sound one without samples (unless `allow_empty`).
    """
    path = Path(path)
    if (path / "result.json").exists():
        path = path / "result.json"
    document = _read_json(path)
    _check_origin(path, document)
    check_schema(path, document)
    run = Run(document)
    for entry in run.body["drivers"]:
        run.drivers[entry["slug"]] = driver_of(entry)
    for entry in document["benchmarks"]:
        sample = _sample(entry)
        if sample.driver not in run.drivers:
            raise ReportError(f"{path} has a sample of driver {text.plain(sample.driver)}, which its driver list lacks")
        blocks = run.samples.setdefault((sample.case, sample.driver), {})
        if sample.block in blocks:
            raise ReportError(f"{path} has two samples of {text.plain(entry['name'])} in block {sample.block}: it was put together wrongly")
        blocks[sample.block] = sample
    if not run.samples and not allow_empty:
        raise NothingToReport(f"{path} holds no finished sample; see its skips and failures, or run again")
    return run
