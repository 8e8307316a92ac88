"""Several result files together: loaded, ordered by date, grouped by machine, with short names.

Nothing is pooled here: each run keeps its own blocks, because sessions differ more
than blocks of one session do (METHOD decision 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import likeness, result_file
from .comparison import Comparison
from .errors import UsageError
from .likeness import Likeness
from .result_file import Run


@dataclass(frozen=True)
class Member:
    """A run with the file it came from."""

    path: Path
    run: Run

    @cached_property
    def comparison(self) -> Comparison:
        return Comparison(self.run)

    @property
    def date(self) -> str:
        """When it was made, to the minute, as its file says."""
        return str(self.run.context["date"])[:16].replace("T", " ")


class RunSet:
    """One or more runs, oldest first."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = sorted(members, key=lambda m: (str(m.run.context["date"]), m.run.body["run_id"]))

    @property
    def runs(self) -> list[Run]:
        return [member.run for member in self.members]

    @property
    def newest(self) -> Member:
        return self.members[-1]

    @cached_property
    def likeness(self) -> Likeness:
        return likeness.compare(self.runs)

    @cached_property
    def machines(self) -> dict[str, list[Member]]:
        """Machine id → its runs, oldest first; machines in the order of their first run."""
        grouped: dict[str, list[Member]] = {}
        for member in self.members:
            grouped.setdefault(likeness.machine(member.run), []).append(member)
        return grouped

    @cached_property
    def latest_by_system(self) -> list[Member]:
        """The newest run of each machine and distribution: the columns of a comparison across systems."""
        newest = {(likeness.machine(m.run), self._system(m)): m for m in self.members}
        return list(newest.values())

    @staticmethod
    def _system(member: Member) -> str:
        return str(member.run.body["environment"]["version"].get("distribution", "unknown system"))

    def names(self, members: Sequence[Member]) -> list[str]:
        """The shortest words that tell `members` apart: system, then host, then kernel, then date."""
        parts = [[self._system(m) for m in members], [str(m.run.context["host_name"]) for m in members],
                 ["kernel " + str(m.run.body["environment"]["version"].get("kernel_release", "unknown")) for m in members],
                 [m.date for m in members], [m.run.body["run_id"][:8] for m in members]]
        telling = [column for column in parts if len(set(column)) > 1]
        names = ["" for _ in members]
        for column in telling:
            names = [f"{name}, {word}" if name else word for name, word in zip(names, column)]
            if len(set(names)) == len(names):
                break
        return [name or self._system(m) for name, m in zip(names, members)]


def load(paths: Sequence[str | Path]) -> RunSet:
    """Loads every file (or folder of one); the first bad one raises. The same run twice is a UsageError."""
    members: dict[str, Member] = {}
    for path in paths:
        run = result_file.load(path)
        known = members.setdefault(run.body["run_id"], Member(Path(path), run))
        if known.run is not run:
            raise UsageError(f"{known.path} and {path} hold the same run; name it once")
    return RunSet(list(members.values()))
