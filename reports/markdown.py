"""Markdown: the comparison table alone, and the whole report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import both_engines, facts, measure, text, use_cases
from .comparison import Comparison, Ranking
from .figures.heat_map import cell_text
from .report_content import Report
from .table import cell
from .text import markdown as escape


BYTES_MAX = 1_000_000  # GitHub drops a step summary above 1 MiB
_REMARK_BYTES = 2000


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """A Markdown table; every cell is escaped. `numbers` aligns all but the first column right."""
    head = "| " + " | ".join(escape(c) for c in columns) + " |"
    rule = "|" + "|".join([" --- "] + [" ---: " if numbers else " --- "] * (len(columns) - 1)) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(escape(c) for c in row) + " |" for row in rows)])


def details(summary: str, content: str) -> list[str]:
    """A folded part; GitHub and GitLab unfold it on a click."""
    return ["<details>", f"<summary>{escape(summary)}</summary>", "", content, "", "</details>", ""]


def _comparison(comparison: Comparison, engine: str, rankings: dict[str, Ranking]) -> str:
    drivers = comparison.run.ranked_in(engine)
    rows = []
    for key, ranking in rankings.items():
        count = f" ({len(ranking.common)})" if len(ranking.cases) > 1 else ""
        native = measure.shown(measure.kind(comparison.run), ranking.control.value) if ranking.control else "–"
        rows.append((key + count, native, *(cell(ranking.standings[d]) for d in drivers)))
    return grid(("cases", "native", *(comparison.run.label(d) for d in drivers)), rows)


def _remarks(comparison: Comparison) -> list[str]:
    parts = []
    if facts.skipped(comparison):
        parts += ["### Not run", "", grid(("what", "why", "remedy"), facts.skipped(comparison), numbers=False), ""]
    if comparison.run.body["failures"]:
        parts += ["### Failures", "", grid(("case", "block", "phase", "detail"), facts.failures(comparison), numbers=False), ""]
    found = facts.warnings(comparison)
    if found:
        parts += ["### Warnings", "", *(f"- {escape(w.what)} {escape(w.remedy)}" for w in found), ""]
    return parts


def render_table(comparison: Comparison) -> str:
    """What the terminal table shows, as Markdown."""
    parts = ["## sbench: drivers relative to native", ""]
    for engine, rankings in comparison.by_group.items():
        parts += [f"**{measure.noun(comparison.run)}, {engine} engines**, lower is better", "", _comparison(comparison, engine, rankings), ""]
    interval = "95 % interval" if comparison.inference else "range seen (no inference)"
    parts += [f"\\* best, = tie with best, \\~ unsteady, – no number; ± half the {interval}. {escape(facts.blocks_words(comparison))}; "
              f"seed {comparison.run.body['seed']}; noise floor {escape(facts.noise_words(comparison))}.", ""]
    if cost := facts.fuse_cost(comparison):
        parts += [f"**{escape(facts.FUSE_COST_TITLE)}**", "", grid(facts.FUSE_COST_COLUMNS, cost), ""]
    return "\n".join(parts + _remarks(comparison)).rstrip() + "\n"


def _verdicts(report: Report) -> list[str]:
    if report.no_verdict:
        return ["## Verdict", "", escape(report.no_verdict), ""]
    comparison = report.comparison
    rows = []
    for verdict in report.verdicts:
        ranking = verdict.ranking
        best = comparison.run.label(ranking.best) if ranking.best else "–"
        ties = ", ".join(comparison.run.label(d) for d in ranking.ties) or "–"
        second = ranking.runner_up
        runner = f"{comparison.run.label(second.driver)} {use_cases.margin(verdict)}" if second else "–"
        rows.append((verdict.use_case.title, verdict.engine, best, ties, runner, use_cases.confidence(verdict), use_cases.price_words(comparison, verdict),
                     "; ".join(use_cases.set_aside_words(comparison, verdict)) or "–", use_cases.weight_words(verdict) or "–"))
    return ["## Verdict", "", grid(("use", "engines", "fewest device bytes" if measure.inside(comparison.run) else "fastest", "tied with it", "next", "how sure", "what it costs", "set aside", "weights"),
                                   rows, numbers=False), ""]


def _folded(report: Report) -> list[tuple[str, str]]:
    """(title, content) of the folded parts, in the report's order."""
    comparison = report.comparison
    parts = []
    for figure in report.figures:
        notes = "".join(f"\n- {escape(note)}" for note in figure.notes)
        parts.append((figure.title, "\n".join([escape(figure.lead), "", escape(figure.alt) + ("" if figure.alt.endswith(".") else "."), notes, "",
                                               grid(figure.columns, figure.rows, numbers=not figure.prose)])))
    for engine, rankings in comparison.by_case.items():
        drivers = comparison.run.ranked_in(engine)
        rows = [(key, *(cell_text(r.standings[d], r.best) for d in drivers)) for key, r in rankings.items()]
        parts.append((f"Every case, {measure.noun(comparison.run).lower()} relative to the best ({engine} engines)",
                      grid(("case", *(comparison.run.label(d) for d in drivers)), rows)))
    parts += [(title, grid(both_engines.COLUMNS, rows)) for title, rows in both_engines.tables(comparison, by_case=True)]
    if cost := facts.fuse_cost(comparison):
        parts.append((facts.FUSE_COST_TITLE, grid(facts.FUSE_COST_COLUMNS, cost)))
    parts.append(("Method", "\n".join(f"- {escape(note)}" for note in facts.METHOD_NOTES)))
    parts.append(("Glossary", "\n".join(f"- **{escape(word)}**: {escape(meaning)}" for word, meaning in facts.GLOSSARY)))
    return parts


def render_report(report: Report, bytes_max: int = BYTES_MAX) -> str:
    """The whole report: what must be seen first, everything else folded. Parts that would pass `bytes_max` are left out, and named."""
    comparison = report.comparison
    head = ["# Storage drivers compared", "", *_verdicts(report), *_remarks(comparison)]
    if report.runs_shown:
        head += ["## Runs", "", grid(("run", "date", "engines", "blocks", "command"), report.runs_shown, numbers=False), ""]
    head += details("Where and how", grid(("what", "value"), facts.header(comparison), numbers=False))
    text_so_far, left_out = "\n".join(head), []
    for title, content in _folded(report):
        part = "\n".join(details(title, content))
        if len((text_so_far + part).encode("utf-8")) > bytes_max - _REMARK_BYTES:
            left_out.append(title)
        else:
            text_so_far += "\n" + part
    if left_out:
        text_so_far += f"\nLeft out for its size, see the HTML report: {escape('; '.join(left_out))[:_REMARK_BYTES // 2]}.\n"
    return text_so_far.rstrip() + "\n"
