"""The gate's verdict as text, Markdown, JSON, JUnit XML, and OpenMetrics text for a node exporter's textfile collector."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import Any
from xml.etree import ElementTree

from .. import markdown, text
from ..text import plain
from .rule import RULE
from .verdict import Alarm, Verdict

_COLUMNS = ("series", "state", "change", "z", "detects", "nights")


def _notes(verdict: Verdict) -> list[str]:
    """What is worth a line beside the alarms."""
    judged, found = verdict.judged, []
    if judged.shift and verdict.alarms:
        found.append(f"the environment shifted: {judged.shift}")
    if judged.shift or judged.invalid:
        changes = [f"{d.name}: {d.values[0]} → {d.values[1]}" for d in judged.changed][:6]
        found.append("changed since the night before: " + ("; ".join(changes) if changes else "nothing that is recorded"))
    improved = judged.with_status("improved")
    if improved:
        found.append(f"faster or less than before: {', '.join(improved)}; sbench gate --reset SERIES --reason … makes that the new baseline, so that losing it again is noticed")
    suspects = [n for n in judged.with_status("suspect") if n not in verdict.unconfirmed]
    if suspects:
        found.append(f"suspect, watched: {', '.join(suspects)}")
    noisy = judged.with_status("noisy")
    if noisy:
        found.append(f"too noisy to gate (only changes over {text.percent(RULE.quarantine)} would show): {', '.join(noisy)}")
    varies = judged.with_status("varies")
    if varies:
        found.append(f"not exact enough to gate: {', '.join(varies)}")
    if verdict.short:
        found.append(f"{len(verdict.short)} series still learn ({RULE.full} nights for times, {RULE.provisional} for counts)")
    if verdict.night.injected:
        found.append(f"slowed down on purpose: {verdict.night.injected}; this night enters no baseline")
    return found


def _alarm_lines(alarm: Alarm) -> list[tuple[str, str]]:
    return [("how sure", alarm.how), ("changed then", "; ".join(alarm.causes) or "nothing that is recorded"), ("repeat", alarm.repeat),
            ("look", f"sbench history trend --series '{alarm.series}' -o trend.svg" if alarm.metric == "real_time" else f"sbench history export, metric {alarm.metric}"),
            ("accept", f"sbench gate --ack '{alarm.series}' --reason '…'")]


def as_text(verdict: Verdict) -> str:
    """For a terminal and a mail."""
    night = verdict.night
    lines = [f"{verdict.word.upper()}: {verdict.summary}",
             f"night {night.date[:16].replace('T', ' ')}, run {night.run_id}, machine {night.machine}, {len(verdict.replay.nights)} nights of environment {night.fingerprint}"]
    for alarm in verdict.alarms:
        lines += ["", alarm.headline, *(f"  {name:13}{words}" for name, words in _alarm_lines(alarm))]
    for failure in verdict.failures:
        lines.append(f"failed: {failure['cell']} block {failure['block']}: {failure['detail']}")
    notes = _notes(verdict)
    lines += [""] * bool(notes) + notes + ["", text.columns(_COLUMNS, verdict.rows())]
    return "\n".join(plain(line) if "\n" not in line else line for line in lines) + "\n"


def as_markdown(verdict: Verdict) -> str:
    """For a job summary: alarms first, the table folded."""
    escape = text.markdown
    night = verdict.night
    parts = [f"## sbench gate: {verdict.word}", "", escape(verdict.summary) + ".", ""]
    for alarm in verdict.alarms:
        parts += [f"### {escape(alarm.headline)}", "", *(f"- **{name}**: {escape(words)}" for name, words in _alarm_lines(alarm)), ""]
    parts += [f"- failed: {escape(f['cell'])} block {f['block']}: {escape(f['detail'])}" for f in verdict.failures]
    parts += [f"- {escape(note)}" for note in _notes(verdict)]
    parts += ["", *markdown.details(f"{len(verdict.rows())} series, night {night.date[:16]}, environment {night.fingerprint}", markdown.grid(_COLUMNS, verdict.rows()))]
    return "\n".join(parts).rstrip() + "\n"


def as_json(verdict: Verdict) -> str:
    """Everything, for programs."""
    night = verdict.night
    alarms = [{"series": a.series, "driver": a.driver, "engine": a.engine, "metric": a.metric, "was": a.was, "now": a.now, "change": a.change if math.isfinite(a.change) else None,
               "rerun": a.rerun, "since": a.since.date, "since_run": a.since.run_id, "nights": a.nights, "new": a.new, "how": a.how, "changed": a.causes} for a in verdict.alarms]
    series = [dict(zip(_COLUMNS, row)) for row in verdict.rows()]
    return json.dumps({"verdict": verdict.word, "exit_code": verdict.code, "summary": verdict.summary, "run_id": night.run_id, "date": night.date, "machine": night.machine,
                       "environment": night.fingerprint, "nights": len(verdict.replay.nights), "alarms": alarms, "notes": _notes(verdict), "series": series}, indent=1, allow_nan=False) + "\n"


def _xml(words: object) -> str:
    """Text without what XML 1.0 forbids."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", str(words))


def as_junit(verdict: Verdict) -> bytes:
    """One test case a series: failure when red, skipped when it is not gated, error where the benchmark failed."""
    night, judged = verdict.night, verdict.judged
    red = {a.series: a for a in verdict.alarms}
    cases = []
    for name, outcome in [*judged.timed.items(), *judged.exact.items()]:
        series = name.split(" ")[0]
        cell = next((c for c in night.cells if c.series == series), None)
        case = ElementTree.Element("testcase", classname="sbench." + _xml(series.split("/")[0]), name=_xml(name), time=f"{sum(cell.seconds) if cell else 0:.6f}")
        if name in red:
            alarm = red[name]
            failure = ElementTree.SubElement(case, "failure", message=_xml(alarm.headline), type="regression")
            failure.text = _xml("\n".join(f"{word}: {words}" for word, words in _alarm_lines(alarm)))
        elif outcome.status in ("learning", "warned", "noisy", "varies", "invalid", "shifted"):
            ElementTree.SubElement(case, "skipped", message=_xml({"learning": "the baseline is too short", "warned": "the baseline is too short; this night looks slow",
                                                                  "noisy": "too noisy to gate", "varies": "not exact enough to gate", "invalid": judged.invalid,
                                                                  "shifted": judged.shift}[outcome.status]))
        cases.append(case)
    for failure in verdict.failures:
        case = ElementTree.Element("testcase", classname="sbench", name=_xml(f"{failure['cell']} block {failure['block']}"))
        ElementTree.SubElement(case, "error", message=_xml(failure["detail"]), type=_xml(failure["phase"]))
        cases.append(case)
    for skip in night.facts.get("skips", []):
        case = ElementTree.Element("testcase", classname="sbench", name=_xml(skip.get("cell") or skip["driver"]))
        ElementTree.SubElement(case, "skipped", message=_xml(skip["detail"]))
        cases.append(case)
    count = {tag: sum(1 for case in cases if case.find(tag) is not None) for tag in ("failure", "error", "skipped")}
    suite = ElementTree.Element("testsuite", name="sbench gate", tests=str(len(cases)), failures=str(count["failure"]), errors=str(count["error"]),
                                skipped=str(count["skipped"]), timestamp=_xml(night.date[:19]), hostname=_xml(night.machine))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in [("verdict", verdict.word), ("summary", verdict.summary), ("environment", night.fingerprint), *night.facts_of("version").items()]:
        ElementTree.SubElement(properties, "property", name=_xml(name), value=_xml(value))
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _label(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _line(name: str, labels: dict[str, Any], value: float) -> str:
    told = ",".join(f'{k}="{_label(v)}"' for k, v in labels.items())
    return f"{name}{{{told}}} {value:.10g}" if told else f"{name} {value:.10g}"


def as_openmetrics(verdict: Verdict) -> bytes:
    """Gauges only, in base units, without timestamps (the collector refuses them); valid as Prometheus text too."""
    night, judged = verdict.night, verdict.judged
    families: list[tuple[str, str, list[str]]] = []

    def family(name: str, help_text: str, lines: list[str]) -> None:
        if lines:
            families.append((name, help_text, lines))

    def labels(series: str) -> dict[str, str]:
        cell = judged.measured[series].cell if series in judged.measured else next(c for c in night.cells if c.series == series)
        return {"workload": cell.workload, "driver": cell.driver, "engine": cell.engine, "case": cell.case}

    red = {a.series for a in verdict.alarms}
    cells = [c for c in night.cells if c.seconds]
    family("sbench_duration_seconds", "Median time of a case over the blocks of the night.",
           [_line("sbench_duration_seconds", {"workload": c.workload, "driver": c.driver, "engine": c.engine, "case": c.case, "quantile": "0.5"}, sorted(c.seconds)[len(c.seconds) // 2]) for c in cells])
    known = {n: o for n, o in judged.timed.items() if o.baseline}
    family("sbench_ratio", "Time relative to the baseline of the series.", [_line("sbench_ratio", labels(n), math.exp(o.value - o.baseline.centre)) for n, o in known.items()])
    family("sbench_detectable_ratio", "Smallest change that one night shows with 80 % power, as a share.", [_line("sbench_detectable_ratio", labels(n), o.baseline.detectable) for n, o in known.items()])
    family("sbench_regression", "1 where a series is red and not acknowledged.",
           [_line("sbench_regression", labels(n) | {"metric": "real_time"}, n in red) for n in judged.timed]
           + [_line("sbench_regression", labels(n.rsplit(" ", 1)[0]) | {"metric": n.rsplit(" ", 1)[1]}, n in red) for n in judged.exact])
    family("sbench_gate_exit_code", "0 ok, 1 a benchmark failed, 3 regression, 4 inconclusive, 5 nothing ran.", [_line("sbench_gate_exit_code", {}, verdict.code)])
    family("sbench_gate_new_alarms", "Alarms of this night that were not there before.", [_line("sbench_gate_new_alarms", {}, sum(a.new for a in verdict.alarms))])
    family("sbench_run_timestamp_seconds", "When the judged run began.", [_line("sbench_run_timestamp_seconds", {}, _unix(night.date))])
    version = night.facts_of("version")
    family("sbench_build_info", "1; versions are labels.", [_line("sbench_build_info", {"version": version.get("sbench", ""), "commit": version.get("sbench_commit", ""),
                                                                                     "kernel": version.get("kernel_release", ""), "environment": night.fingerprint}, 1)])
    lines = [line for name, help_text, samples in families for line in (f"# HELP {name} {help_text}", f"# TYPE {name} gauge", *samples)]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode("utf-8")


def _unix(date: str) -> float:
    try:
        return datetime.fromisoformat(date.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()
    except ValueError:
        return 0.0
