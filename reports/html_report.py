"""The self-contained HTML report: one file, inline SVG, no script, no network, same bytes for the same input."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from . import both_engines, facts, likeness, measure, summary, use_cases
from .comparison import Comparison
from .errors import ReportError
from .figures import Figure, canvas
from .figures.heat_map import cell_text
from .report_content import Report

EMBEDDED_BYTES_MAX = 1_000_000
_HERE = Path(__file__).parent
_NO_FIGURES = "notice: python3-matplotlib is missing; the report has tables only"


def _json_for_html(value: Any) -> str:
    """JSON that cannot end the script element or start a comment."""
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return compact.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _verdicts(report: Report) -> list[tuple[str, list[dict[str, Any]]]]:
    if report.no_verdict:
        return []
    comparison = report.comparison
    by_engine: dict[str, list[dict[str, Any]]] = {}
    for verdict in report.verdicts:
        ranking = verdict.ranking
        second = ranking.runner_up
        cells = f"{verdict.cells} of {len(ranking.cases)} cases" if verdict.cells != len(ranking.cases) else f"{verdict.cells} case{'s' if verdict.cells != 1 else ''}"
        by_engine.setdefault(verdict.engine, []).append({
            "title": verdict.use_case.title, "question": verdict.use_case.question,
            "best": comparison.run.label(ranking.best) if ranking.best else "",
            "ties": [comparison.run.label(d) for d in ranking.ties],
            "next": comparison.run.label(second.driver) if second else "", "margin": use_cases.margin(verdict),
            "sure": use_cases.confidence(verdict), "mark": use_cases.mark(verdict), "cells": cells, "weights": use_cases.weight_words(verdict),
            "set_aside": use_cases.set_aside_words(comparison, verdict),
            "prices": use_cases.prices(comparison, verdict),
            "removed": [f"{comparison.run.label(d)}: {words}" for d in ranking.winners if (words := use_cases.removed_words(comparison.run.drivers[d]))],
        })
    return list(by_engine.items())


def _cases(comparison: Comparison) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    sections = []
    for engine, rankings in comparison.by_case.items():
        drivers = comparison.run.ranked_in(engine)
        rows = [(key, *(cell_text(r.standings[d], r.best) for d in drivers)) for key, r in rankings.items()]
        sections.append((engine, ("case", *(comparison.run.label(d) for d in drivers)), rows))
    return sections


def _drivers(comparison: Comparison) -> list[tuple[str, ...]]:
    return [(d.label, d.engine, d.semantic_check + ("".join(f": {'; '.join(words)}" for words in (d.differences, d.deviations) if words)),
             "; ".join(f"{k}: {v}" for k, v in d.status)) for d in comparison.run.drivers.values()]


def _embedded(report: Report) -> str:
    """The whole result file (a list of them for several runs) where that is small, else the summary of each."""
    documents = [member.run.document for member in report.run_set.members]
    whole = _json_for_html(documents if len(documents) > 1 else documents[0])
    if len(whole) <= EMBEDDED_BYTES_MAX:
        return whole
    short = [summary.document(m.comparison, use_cases.verdicts(m.comparison, report.use_cases)) for m in report.run_set.members]
    return _json_for_html(short if len(short) > 1 else short[0])


def _environment() -> Any:
    """Jinja2, set up; raises ReportError where it is missing."""
    try:
        import jinja2
        from markupsafe import Markup, escape
    except ImportError:
        raise ReportError("cannot write HTML: python3-jinja2 is missing; install it, or use --format markdown") from None
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(str(_HERE)), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["breakable"] = lambda words: Markup(re.sub(r"([/:])", r"\1<wbr>", str(escape(words))))
    return environment


def render(report: Report, figures: list[tuple[Figure, str]]) -> str:
    """The page; `figures` pairs each figure with its inline SVG ("" for a table only)."""
    template = _environment().get_template("report.html.j2")
    from markupsafe import Markup

    comparison = report.comparison
    run = comparison.run
    body = run.body
    light, dark = canvas.theme_css(run)
    css = (_HERE / "style.css").read_text(encoding="utf-8").replace("LIGHT_COLOURS", light).replace("DARK_COLOURS", dark)
    return template.render(
        superlative=measure.superlative(run), css=Markup(css), host=run.context["host_name"], device_kind=body["device"]["kind"], engines=run.engines,
        inference=comparison.inference, blocks=facts.blocks_words(comparison), complete=body["complete"],
        headline=facts.headline(comparison), header=facts.header(comparison), verdicts=_verdicts(report),
        no_verdict=report.no_verdict, warnings=facts.warnings(comparison), health=facts.health(comparison), runs=report.runs_shown,
        figures=[{"slug": f.slug, "title": f.title, "lead": f.lead, "legend": f.legend, "notes": f.notes, "columns": f.columns,
                  "rows": f.rows, "prose": f.prose, "svg": Markup(svg)} for f, svg in figures],
        cases=_cases(comparison), pairs=both_engines.tables(comparison, by_case=True), pair_columns=both_engines.COLUMNS, skipped=facts.skipped(comparison), failures=facts.failures(comparison),
        workloads=[(name, w["summary"], w["cache"], w["durability"], w["version"]) for name, w in body["workloads"].items()],
        fuse_cost=facts.fuse_cost(comparison), fuse_cost_title=facts.FUSE_COST_TITLE, fuse_cost_columns=facts.FUSE_COST_COLUMNS,
        drivers=_drivers(comparison), environment=likeness.flat("", body["environment"]), method=facts.METHOD_NOTES,
        glossary=facts.GLOSSARY, run_id=body["run_id"], command=body["command"], seed=body["seed"],
        data_id="sbench-data", data=Markup(_embedded(report)))


def replace(path: Path, content: bytes) -> None:
    """Replaces `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_figure(report: Report, name: str, path: Path) -> None:
    """One figure, as .svg or .png. Raises ReportError where it cannot be drawn."""
    figure = report.figure(name)
    if not figure.draw:
        raise ReportError(f"{name} is a table; it has no picture")
    if not canvas.available():
        raise ReportError("cannot draw figures: python3-matplotlib is missing; install it")
    picture = figure.draw()
    canvas.settle(picture, facts.figure_caption(report.comparison, figure.engine))
    replace(path, canvas.png_file(picture) if path.suffix == ".png" else canvas.svg_file(picture).encode("utf-8"))
    canvas.close(picture)


def write(report: Report, output: Path, figures_folder: Path | None) -> str:
    """Writes the page and, with a folder, each figure as SVG and PNG. Returns a notice for stderr or ""."""
    drawing = canvas.available()
    drawn: list[tuple[Figure, str]] = []
    for figure in report.figures:
        svg = ""
        if drawing and figure.draw:
            picture = figure.draw()
            canvas.settle(picture, facts.figure_caption(report.comparison, figure.engine))
            svg = canvas.inline_svg(picture, figure.slug, figure.title, figure.alt, report.comparison.run)
            if figures_folder:
                replace(figures_folder / f"{figure.slug}.svg", canvas.svg_file(picture).encode("utf-8"))
                replace(figures_folder / f"{figure.slug}.png", canvas.png_file(picture))
            canvas.close(picture)
        drawn.append((figure, svg))
    replace(output, render(report, drawn).encode("utf-8"))
    return "" if drawing else _NO_FIGURES
