"""The history's database, through SQLAlchemy: an SQLite file, or a PostgreSQL server for a fleet.

Runs are added and never changed, but for one that was cut short and comes again with more
samples. Every change is one transaction. Whatever is wrong with the database ends in a
ReportError of one line, with the database as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NothingToReport, ReportError, UsageError
from ..text import plain
from . import night
from .night import Night

try:
    import sqlalchemy
    from sqlalchemy import Column, Integer, MetaData, String, Table, Text, event, exc, select
except ImportError:
    raise ReportError("the history needs python3-sqlalchemy; install it") from None

SCHEMA = 1
DEFAULT = "/var/lib/sbench/history.sqlite"
WAIT_S = 10  # for another writer's lock
_MAGIC = b"SQLite format 3\0"

_METADATA = MetaData()
_ABOUT = Table("sbench_about", _METADATA, Column("name", String(32), primary_key=True), Column("value", Text, nullable=False))
_RUN = Table("sbench_run", _METADATA, Column("run_id", String(64), primary_key=True), Column("date", String(40), nullable=False),
             Column("kind", String(120), nullable=False), Column("machine", String(64), nullable=False),
             Column("fingerprint", String(16), nullable=False), Column("suite", String(64), nullable=False),
             Column("injected", Text, nullable=False), Column("facts", Text, nullable=False))
_CELL = Table("sbench_cell", _METADATA, Column("run_id", String(64), sqlalchemy.ForeignKey("sbench_run.run_id"), primary_key=True),
              Column("place", Integer, primary_key=True), Column("data", Text, nullable=False))
_DECISION = Table("sbench_decision", _METADATA, Column("number", Integer, primary_key=True, autoincrement=True),
                  Column("date", String(40), nullable=False), Column("fingerprint", String(16), nullable=False),
                  Column("series", Text, nullable=False), Column("action", String(8), nullable=False),
                  Column("after_run", String(64), nullable=False), Column("reason", Text, nullable=False))


@dataclass(frozen=True)
class Decision:
    """A person's word on a series: "ack" accepts its new level, "reset" starts over, both after the night `after_run`."""

    date: str
    fingerprint: str
    series: str
    action: str
    after_run: str
    reason: str


def default_name() -> str:
    return os.environ.get("SBENCH_HISTORY") or DEFAULT


def _shown(name: str) -> str:
    """The name without a password."""
    return sqlalchemy.engine.make_url(name).render_as_string(hide_password=True) if "://" in name else name


def _one_line(error: BaseException) -> str:
    return plain(str(getattr(error, "orig", None) or error).strip().splitlines()[0])[:200]


class History:
    """An open history; use it in a `with` statement."""

    def __init__(self, name: str, engine: Any) -> None:
        self.name = name
        self._engine = engine

    @classmethod
    def open(cls, name: str | None = None, create: bool = False) -> "History":
        """Opens `name` (a file, or a URL postgresql://…). A missing one is an error unless `create`."""
        name = name or default_name()
        if "://" in name:
            try:
                engine = sqlalchemy.create_engine(name, pool_pre_ping=True, connect_args={"connect_timeout": WAIT_S} if name.startswith("postgresql") else {})
            except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
                raise UsageError(f"{plain(name.split('://')[0])}:// is no history; name a file, or postgresql://USER@HOST/NAME") from None
            except ImportError:
                raise ReportError("a history on PostgreSQL needs python3-psycopg2; install it") from None
        else:
            engine = cls._open_file(Path(name), create)
        history = cls(_shown(name), engine)
        try:
            history._check(create)
        except BaseException:
            engine.dispose()
            raise
        return history

    @staticmethod
    def _open_file(path: Path, create: bool) -> Any:
        try:
            start = path.open("rb").read(len(_MAGIC)) if path.exists() else b""
        except OSError as error:
            raise ReportError(f"cannot read the history {path}: {error.strerror}") from None
        if not path.exists() and not create:
            raise ReportError(f"there is no history {path}; sbench history import adds the first result, or name one with --history")
        if start and start != _MAGIC:
            raise ReportError(f"{path} is no history: it is not an SQLite database; nothing was changed")
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ReportError(f"cannot make the folder of the history {path}: {error.strerror}") from None
        engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": WAIT_S})

        @event.listens_for(engine, "connect")
        def _set_up(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions begin where we say, not where pysqlite guesses
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = EXTRA")  # the journal's removal, too: a run that was added stays added

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            # A reader that turns writer fails at once where another one wrote meanwhile: writers say so first.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

        return engine

    def _check(self, create: bool) -> None:
        """Makes the tables in an empty database; refuses damaged, foreign and newer ones."""
        with self._transaction(create) as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
            ours = {table.name for table in _METADATA.sorted_tables}
            if _ABOUT.name not in tables:
                if tables & ours or (tables and connection.dialect.name == "sqlite"):
                    raise ReportError(f"{self.name} is no history: it holds other tables; nothing was changed")
                if not create:
                    raise ReportError(f"{self.name} is empty; sbench history import adds the first result")
                _METADATA.create_all(connection)
                connection.execute(_ABOUT.insert().values(name="schema", value=str(SCHEMA)))
                return
            found = connection.execute(select(_ABOUT.c.value).where(_ABOUT.c.name == "schema")).scalar()
            if found is None or not str(found).isdigit() or not ours <= tables:
                raise ReportError(f"{self.name} is damaged: it lacks {', '.join(sorted(ours - tables)) or 'its schema version'}; nothing was changed")
            if int(found) > SCHEMA:
                raise ReportError(f"{self.name} has schema version {found}, this sbench reads {SCHEMA}; use the newer sbench that wrote it")
            if connection.dialect.name == "sqlite":
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if verdict != "ok":
                    raise exc.DatabaseError(str(verdict), None, Exception(verdict))

    @contextlib.contextmanager
    def _transaction(self, writes: bool = False) -> Iterator[Any]:
        """One transaction; database errors become a ReportError."""
        try:
            with self._engine.execution_options(writes=writes).begin() as connection:
                yield connection
        except exc.IntegrityError:
            raise
        except exc.DBAPIError as error:
            raise ReportError(self._words(error)) from None
        except exc.SQLAlchemyError as error:
            raise ReportError(f"the history {self.name} failed: {_one_line(error)}; nothing was changed") from None

    def _words(self, error: Any) -> str:
        said = _one_line(error)
        if "locked" in said:
            return f"the history {self.name} is locked by another program for over {WAIT_S} s; nothing was changed, try again"
        if "malformed" in said or "not a database" in said or "quick_check" in said or type(error) is exc.DatabaseError:
            return f"the history {self.name} is damaged ({said}); nothing was changed: restore a backup, or an export by sbench history import"
        if "readonly" in said or "read-only" in said:
            return f"the history {self.name} may not be written by this user; nothing was changed"
        return f"the history {self.name} cannot be used: {said}; nothing was changed"

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def add(self, run: Night) -> str:
        """Adds a run: "added", "completed" (it was there with fewer samples), or "known"."""
        try:
            return self._add(run)
        except exc.IntegrityError:  # another program added it a moment ago
            return "known"

    def _add(self, run: Night) -> str:
        done = "added"
        with self._transaction(True) as connection:
            there = connection.execute(select(_CELL.c.data).where(_CELL.c.run_id == run.run_id)).scalars().all()
            if connection.execute(select(_RUN.c.run_id).where(_RUN.c.run_id == run.run_id)).first():
                if sum(len(json.loads(data)["blocks"]) for data in there) >= run.samples:
                    return "known"
                done = "completed"
                connection.execute(_CELL.delete().where(_CELL.c.run_id == run.run_id))
                connection.execute(_RUN.delete().where(_RUN.c.run_id == run.run_id))
            entry = run.as_json()
            connection.execute(_RUN.insert().values({name: entry[name] for name in ("run_id", "date", "kind", "machine", "fingerprint", "suite", "injected")}
                                                    | {"facts": _compact(run.facts)}))
            if entry["cells"]:
                connection.execute(_CELL.insert(), [{"run_id": run.run_id, "place": i, "data": _compact(cell)} for i, cell in enumerate(entry["cells"])])
        return done

    def runs(self, machine: str | None = None) -> list[Night]:
        """Every run, reruns included, oldest first."""
        with self._transaction() as connection:
            wanted = select(_RUN) if machine is None else select(_RUN).where(_RUN.c.machine == machine)
            rows = connection.execute(wanted).mappings().all()
            kept: dict[str, list[str]] = {row["run_id"]: [] for row in rows}
            for run_id, data in connection.execute(select(_CELL.c.run_id, _CELL.c.data).order_by(_CELL.c.run_id, _CELL.c.place)):
                if run_id in kept:
                    kept[run_id].append(data)
        try:
            found = [night.from_json({**row, "facts": json.loads(row["facts"]), "cells": [json.loads(data) for data in kept[row["run_id"]]]})
                     for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ReportError(f"the history {self.name} is damaged (a run cannot be read: {plain(str(error))[:120]}); nothing was changed") from None
        return sorted(found, key=lambda n: (n.date, n.run_id))

    def nights(self, machine: str | None = None) -> list[Night]:
        """The runs that are no reruns, oldest first, each with its confirmations."""
        return night.with_confirmations(self.runs(machine))

    def one_machine(self, machine: str | None) -> str:
        """`machine`, or the only one there is."""
        with self._transaction() as connection:
            known = sorted(connection.execute(select(_RUN.c.machine).distinct()).scalars())
        if machine is None and len(known) == 1:
            return known[0]
        if not known:
            raise NothingToReport(f"the history {self.name} holds no run; add one with sbench history import")
        if machine is None:
            raise UsageError(f"the history holds several machines, name one with --machine: {', '.join(known)}")
        if machine not in known:
            raise UsageError(f"the history has no machine '{plain(machine)}'; it has {', '.join(known)}")
        return machine

    def decide(self, decision: Decision) -> None:
        """Adds a decision, unless the same one is there."""
        values = {name: getattr(decision, name) for name in ("date", "fingerprint", "series", "action", "after_run", "reason")}
        with self._transaction(True) as connection:
            same = select(_DECISION.c.number)
            for name, value in values.items():
                same = same.where(_DECISION.c[name] == value)
            if not connection.execute(same).first():
                connection.execute(_DECISION.insert().values(values))

    def acks(self) -> list[Decision]:
        """Every decision, in the order they were made."""
        with self._transaction() as connection:
            rows = connection.execute(select(_DECISION).order_by(_DECISION.c.date, _DECISION.c.number)).mappings()
            return [Decision(**{name: row[name] for name in row if name != "number"}) for row in rows]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
