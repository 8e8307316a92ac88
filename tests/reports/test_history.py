"""The history: SQLite and a real PostgreSQL server through the same tests; what happens when the database is not well."""

import gzip
import json
import sqlite3
import subprocess
import sys
import threading

import postgres_server
import pytest
import synthetic_result
from conftest import ROOT, run_reports, stored

from reports.errors import ReportError
from reports.history import exchange, night, trend
from reports.history.store import Decision, History
from reports.result_file import load


@pytest.fixture(scope="session")
def postgres():
    reason = postgres_server.missing()
    if reason:
        pytest.skip(reason)
    with postgres_server.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """Name of an empty history."""
    if request.param == "sqlite":
        yield str(tmp_path / "history.sqlite")
        return
    url = request.getfixturevalue("postgres")
    yield url
    import sqlalchemy

    with sqlalchemy.create_engine(url).begin() as connection:
        for table in ("sbench_cell", "sbench_run", "sbench_decision", "sbench_about"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def result(tmp_path, seed=1, date="2026-01-01T03:00:00Z", blocks=6, **changes):
    """A small synthetic result file."""
    document = synthetic_result.make(drivers=("native", "overlay2"), blocks=blocks, seed=seed, workloads=("layer_build.build", "layer_build.remove"))
    document["context"]["date"] = date
    document["sbench"]["run_id"] = f"run-{seed}"
    for name, value in changes.items():
        document["sbench"][name] = value
    return stored(tmp_path / f"{seed}-{blocks}.json", document)


def test_a_run_is_kept_once_however_often_it_is_imported(database, tmp_path):
    path = result(tmp_path)
    first = run_reports("history", "import", path, "--history", database)
    assert (first.returncode, first.stdout) == (0, "1 added\n"), first.stderr
    assert run_reports("history", "import", path, path, "--history", database).stdout == "2 known\n"
    with History.open(database) as history:
        (kept,) = history.nights()
    assert kept == night.from_run(load(path))
    assert [c.series for c in kept.cells] == ["layer_build.build/native/image:full", "layer_build.build/overlay2/image:full",
                                              "layer_build.remove/native/image:small", "layer_build.remove/overlay2/image:small"]


def test_a_run_that_was_cut_short_is_completed_and_never_the_other_way_round(database, tmp_path):
    half, whole = result(tmp_path, blocks=3), result(tmp_path, blocks=6)
    outcomes = [run_reports("history", "import", path, "--history", database).stdout for path in (half, whole, half)]
    assert outcomes == ["1 added\n", "1 completed\n", "1 known\n"]
    with History.open(database) as history:
        assert [len(c.blocks) for c in history.runs()[0].cells] == [6, 6, 6, 6]


def test_an_export_imports_to_the_same_history(database, tmp_path):
    run_reports("history", "import", *(result(tmp_path, seed) for seed in (3, 1, 2)), "--history", database)
    decision = Decision("2026-01-02", "abc", "layer_build.*", "ack", "run-1", "a new kernel, \"known\"")
    with History.open(database) as history:
        history.decide(decision)
        history.decide(decision)
        kept = history.runs()
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        assert run_reports("history", "export", "--history", database, "-o", tmp_path / name).returncode == 0
        copy = str(tmp_path / f"{name}.sqlite")
        assert run_reports("history", "import", tmp_path / name, "--history", copy).stdout == "3 added\n"
        with History.open(copy) as history:
            assert history.runs() == kept
            assert history.acks() == [decision]


def test_unlike_environments_are_kept_apart(database, tmp_path):
    paths = [result(tmp_path, 1), result(tmp_path, 2)]
    other = json.loads(result(tmp_path, 3).read_text())
    other["sbench"]["environment"]["identity"]["ram_gib"] = 64
    newer = json.loads(result(tmp_path, 4).read_text())
    newer["sbench"]["environment"]["version"]["kernel_release"] = "another"
    paths += [stored(tmp_path / "other.json", other), stored(tmp_path / "newer.json", newer)]
    run_reports("history", "import", *paths, "--history", database)
    listed = json.loads(run_reports("history", "list", "--history", database, "--format", "json").stdout)
    assert [e["nights"] for e in listed] == [3, 1], "memory is hardware, the kernel is a version"
    assert "64 GiB" in listed[1]["hardware"]


def test_writers_at_once_lose_nothing(database, tmp_path):
    paths = [result(tmp_path, seed) for seed in range(1, 7)]
    with History.open(database, create=True):
        pass
    failures = []

    def add(own):
        try:
            with History.open(database) as history:
                exchange.add_files(history, own)
        except ReportError as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(paths[i % 3:],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with History.open(database) as history:
        assert [n.run_id for n in history.nights()] == [f"run-{seed}" for seed in range(1, 7)]


def one_line(done, *words):
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("sbench: "), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_newer_schema_is_refused_and_left_alone(database, tmp_path):
    run_reports("history", "import", result(tmp_path), "--history", database)
    import sqlalchemy

    url = database if "://" in database else f"sqlite:///{database}"
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.exec_driver_sql("UPDATE sbench_about SET value = '2' WHERE name = 'schema'")
    one_line(run_reports("history", "import", result(tmp_path, 2), "--history", database), "schema version 2", "reads 1")
    with sqlalchemy.create_engine(url).begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sbench_run").scalar() == 1


def test_a_locked_history_says_so_and_keeps_all(tmp_path, monkeypatch):
    from reports.history import store

    monkeypatch.setattr(store, "WAIT_S", 0.2)
    database = tmp_path / "history.sqlite"
    run_reports("history", "import", result(tmp_path), "--history", database)
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    one_line(run_reports("history", "import", result(tmp_path, 2), "--history", database), "locked", "nothing was changed")
    holder.execute("COMMIT")
    assert run_reports("history", "import", result(tmp_path, 2), "--history", database).stdout == "1 added\n"


def test_every_way_a_history_file_can_be_damaged_ends_in_one_line(tmp_path):
    database = tmp_path / "history.sqlite"
    run_reports("history", "import", *(result(tmp_path, seed) for seed in (1, 2, 3)), "--history", database)
    whole = database.read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "scribbled": whole[:8192] + b"\xff" * 8192 + whole[16384:], "text": b"not a database at all, " * 300,
                          "header only": whole[:100]}.items():
        broken = tmp_path / f"{name}.sqlite"
        broken.write_bytes(content)
        done = run_reports("history", "list", "--history", broken)
        one_line(done, str(broken))
        one_line(run_reports("history", "import", result(tmp_path, 4), "--history", broken))
        assert broken.read_bytes() == content, f"{name}: changed"
    foreign = tmp_path / "foreign.sqlite"
    sqlite3.connect(foreign).execute("CREATE TABLE songs (title TEXT)").connection.commit()
    one_line(run_reports("history", "import", result(tmp_path, 4), "--history", foreign), "no history")
    one_line(run_reports("history", "list", "--history", tmp_path / "absent.sqlite"), "there is no history")
    assert not (tmp_path / "absent.sqlite").exists()


def test_a_bad_file_among_good_ones_adds_nothing(database, tmp_path):
    good = result(tmp_path, 1)
    run_reports("history", "import", good, "--history", database)
    run_reports("history", "export", "--history", database, "-o", tmp_path / "export.jsonl.gz")
    lines = gzip.decompress((tmp_path / "export.jsonl.gz").read_bytes()).splitlines(keepends=True)
    bad = {"cut.jsonl": b"".join(lines[:-1]), "half.jsonl": b"".join(lines)[: len(b"".join(lines)) // 2], "newer.jsonl": b'{"sbench_history": 9}\n' + b"".join(lines[1:]),
           "cut.jsonl.gz": (tmp_path / "export.jsonl.gz").read_bytes()[:-20], "damaged.jsonl": lines[0] + b'{"run": {"run_id": 3}}\n' + lines[-1], "foreign.json": b'{"context": 1}',
           "empty.json": b""}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        one_line(run_reports("history", "import", result(tmp_path, 2), tmp_path / name, "--history", database), name)
        with History.open(database) as history:
            assert [n.run_id for n in history.runs()] == ["run-1"]


def test_a_killed_import_leaves_whole_runs_only(tmp_path):
    database = tmp_path / "history.sqlite"
    program = ("import os, sys; sys.path.insert(0, sys.argv[1])\n"
               "from reports.history import exchange, store\n"
               "from pathlib import Path\n"
               "real = store._compact; calls = []\n"
               "def dying(value):\n"
               "    calls.append(1)\n"
               "    if len(calls) == 9: os.kill(os.getpid(), 9)\n"
               "    return real(value)\n"
               "store._compact = dying\n"
               "with store.History.open(sys.argv[2], create=True) as history:\n"
               "    exchange.add_files(history, sys.argv[3:])\n")
    done = subprocess.run([sys.executable, "-c", program, str(ROOT), str(database), *(str(result(tmp_path, s)) for s in (1, 2, 3))], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    with History.open(str(database)) as history:
        kept = history.runs()
        assert [(n.run_id, len(n.cells)) for n in kept] == [("run-1", 4)]


def test_change_points_are_found_where_they_were_put_and_nowhere_else():
    import numpy as np

    rng = np.random.default_rng(5)
    still = rng.normal(0, 0.02, 60)
    assert trend.change_points(still) == []
    spike = still.copy()
    spike[30] += 0.5
    assert trend.change_points(spike) == []
    stepped = still + np.where(np.arange(60) >= 20, 0.1, 0) - np.where(np.arange(60) >= 45, 0.2, 0)
    found = trend.change_points(stepped)
    assert len(found) == 2 and abs(found[0] - 20) <= 1 and abs(found[1] - 45) <= 1


def test_trend_tells_levels_and_draws(database, tmp_path):
    paths = [result(tmp_path, seed, f"2026-01-{seed:02d}T03:00:00Z") for seed in range(1, 13)]
    run_reports("history", "import", *paths, "--history", database)
    done = run_reports("history", "trend", "--history", database, "-o", tmp_path / "trend.svg", "--series", "layer_build.b*")
    assert done.returncode == 0, done.stderr
    assert "layer_build.build/overlay2/image:full" in done.stdout and "layer_build.remove" not in done.stdout
    assert "<svg" in (tmp_path / "trend.svg").read_text()
    assert run_reports("history", "trend", "--history", database, "--series", "nothing*").returncode == 5
    page = run_reports("report", paths[-1], "--history", database, "--format", "markdown")
    assert "Over the nights" in page.stdout, page.stderr


def test_a_password_is_never_shown():
    done = run_reports("history", "list", "--history", "postgresql://user:secret@127.0.0.1:1/none")
    one_line(done)
    assert "secret" not in done.stderr
