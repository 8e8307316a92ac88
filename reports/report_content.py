"""What a report shows, gathered once for every form of it: HTML, Markdown, CSV, single figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from . import use_cases
from .comparison import Comparison
from .errors import ReportError, UsageError
from .figures import Figure, of_nights, of_one_run, of_several_runs
from .run_set import RunSet
from .use_cases import UseCase, Verdict


@dataclass
class Report:
    """The newest run in full, and beside it what all runs say together."""

    run_set: RunSet
    use_cases: Sequence[UseCase]
    history: str | None = None  # a history's name: adds the trend of the newest run's machine

    def __post_init__(self) -> None:
        refusals = self.run_set.likeness.refusals
        if refusals:
            raise ReportError("these runs do not belong in one report: " + "; ".join(refusals))

    @property
    def comparison(self) -> Comparison:
        """Of the newest run."""
        return self.run_set.newest.comparison

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return use_cases.verdicts(self.comparison, self.use_cases)

    @property
    def no_verdict(self) -> str:
        """Why the run says nothing about any use; "" where it does about one."""
        if any(verdict.ranking.cases for verdict in self.verdicts):
            return ""
        titles = ", ".join(use_case.title for use_case in self.use_cases)
        families = dict.fromkeys(s.workload.split(".")[0] for use_case in self.use_cases for s in use_case.selectors)
        return f"No case of this run speaks for a use ({titles}): those are judged by {', '.join(families)}."

    @cached_property
    def figures(self) -> list[Figure]:
        """Those of the newest run, the nights behind it, then all runs together."""
        nights = of_nights(self.run_set, self.history) if self.history else []
        return of_one_run(self.comparison) + nights + of_several_runs(self.run_set, self.use_cases)

    def figure(self, name: str) -> Figure:
        """One figure by its name."""
        for figure in self.figures:
            if figure.slug == name:
                return figure
        raise UsageError(f"no figure '{name}' in this report; it has {', '.join(f.slug for f in self.figures)}")

    @property
    def runs_shown(self) -> list[tuple[str, str, str, str, str]]:
        """(name, date, engine classes, blocks, command) of each run; empty when there is but one."""
        members = self.run_set.members
        if len(members) == 1:
            return []
        return [(name, m.date, ", ".join(m.run.engines), str(m.run.body["blocks_done"]), m.run.body["command"])
                for name, m in zip(self.run_set.names(members), members)]
