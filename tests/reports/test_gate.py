"""The gate on synthetic nights: what must alarm and when, what must not, and what a person is told."""

import json
import os
import re
import stat
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic_nights as made
import synthetic_result
from conftest import run_reports, stored

from reports.gate import confirm
from reports.gate.replay import replay
from reports.gate.rule import RULE, change_point
from reports.gate.verdict import Verdict
from reports.history.store import Decision, History

SERIES = "layer_build.build/overlay2/image:small"


def rng(seed=99):
    return np.random.default_rng(seed)


def confirmed(index, source, **how):
    """A night with its rerun, both `how`."""
    night = made.night(index, source, **how)
    night.confirmations.append(made.rerun(night, source, **how))
    return night


@pytest.mark.parametrize("seed", range(1, 6))
def test_nights_on_which_nothing_changes_raise_no_alarm(seed):
    judged = replay(made.nights(70, seed)).nights
    assert [j.new_alarms for j in judged if j.new_alarms] == []
    assert all(o.status in ("ok", "suspect", "improved") for o in judged[-1].timed.values())


def test_twenty_per_cent_is_flagged_the_same_night_once_a_rerun_agrees():
    before = made.nights(40)
    judged = replay([*before, confirmed(40, rng(), slower={SERIES: 1.2})]).nights[-1]
    assert judged.new_alarms == [SERIES]
    assert judged.timed[SERIES].path == "fast"
    alone = Verdict(replay([*before, made.night(40, rng(), slower={SERIES: 1.2})]))
    assert alone.judged.new_alarms == [] and alone.unconfirmed == [SERIES] and alone.code == 4
    spike = made.night(40, rng(), slower={SERIES: 1.2})
    spike.confirmations.append(made.rerun(spike, rng(5)))
    assert replay([*before, spike]).nights[-1].timed[SERIES].status == "ok", "the rerun was as ever: the less bad of the two counts"


@pytest.mark.parametrize(("factor", "within"), [(1.10, 3), (1.05, 14)])
def test_smaller_slowdowns_add_up(factor, within):
    source = rng()
    judged = replay([*made.nights(40), *(confirmed(40 + i, source, slower={SERIES: factor}) for i in range(within))]).nights
    assert SERIES in [name for j in judged[40:] for name in j.new_alarms]


def test_one_night_alone_never_alarms_without_a_rerun():
    before, judged = replay([*made.nights(40), made.night(40, rng(), slower={SERIES: 5.0})]).nights[-2:]
    assert judged.new_alarms == []
    assert judged.timed[SERIES].cusum == pytest.approx(before.timed[SERIES].cusum + RULE.suspect - RULE.slack)


def test_a_creeping_slowdown_is_not_learnt():
    source = rng()
    creeping = [confirmed(40 + i, source, slower={SERIES: 1 + 0.01 * i}) for i in range(25)]
    judged = replay([*made.nights(40), *creeping]).nights
    assert SERIES in judged[-1].regressed


def test_a_slow_machine_is_a_shift_of_the_environment_and_no_alarm():
    night = made.night(40, rng(), machine=1.5, kernel="6.1.1")
    verdict = Verdict(replay([*made.nights(40), night]))
    assert verdict.judged.shift and verdict.code == 4 and not verdict.alarms
    assert "kernel_release" in [d.name for d in verdict.judged.changed]
    after = replay([*made.nights(40), night, confirmed(41, rng(3), slower={SERIES: 1.2})]).nights[-1]
    assert after.new_alarms == [SERIES], "the night after is judged against the nights before the shift"


def test_two_per_cent_more_bytes_are_flagged_the_same_night_and_half_a_per_cent_is_not():
    name = f"{SERIES} bytes_dev_written"
    before = made.nights(12)
    assert replay([*before, made.night(12, rng(), written={SERIES: 1.02})]).nights[-1].new_alarms == [name]
    assert replay([*before, made.night(12, rng(), written={SERIES: 1.005})]).nights[-1].new_alarms == []
    one_block = made.night(12, rng(), written={SERIES: 1.02})
    cell = next(c for c in one_block.cells if c.series == SERIES)
    cell.metrics["bytes_dev_written"] = (made.WRITTEN, *cell.metrics["bytes_dev_written"][1:])
    assert replay([*before, one_block]).nights[-1].new_alarms == [], "every block must show it"
    less = replay([*before, made.night(12, rng(), written={SERIES: 0.97})]).nights[-1]
    assert less.exact[name].status == "improved"


def test_a_count_that_wavers_by_itself_is_not_gated():
    source = rng(8)
    before = [made.night(i, source, written={SERIES: 1.05 if i % 3 else 1.0}) for i in range(20)]
    judged = replay([*before, made.night(20, source, written={SERIES: 1.10})]).nights[-1]
    assert judged.exact[f"{SERIES} bytes_dev_written"].status == "varies" and judged.new_alarms == []


def test_a_noisy_series_is_reported_and_not_gated():
    source = rng(4)
    before = [made.night(i, source, night_noise=0.15) for i in range(40)]
    judged = replay([*before, confirmed(40, source, slower={SERIES: 2.0})]).nights[-1]
    assert judged.timed[SERIES].status == "noisy" and judged.new_alarms == []
    assert judged.timed[SERIES].baseline.detectable > RULE.quarantine


def test_red_stays_red_without_paging_again_until_it_is_acknowledged():
    source = rng()
    slow = [confirmed(40 + i, source, slower={SERIES: 1.2}) for i in range(25)]
    first, second = replay([*made.nights(40), *slow[:1]]), replay([*made.nights(40), *slow[:3]])
    assert first.nights[-1].new_alarms == [SERIES]
    assert second.nights[-1].new_alarms == [] and second.nights[-1].regressed == [SERIES] and Verdict(second).code == 3
    ack = Decision("2026-02-20", "f00d", SERIES, "ack", slow[2].run_id, "known")
    after = replay([*made.nights(40), *slow], [ack]).nights
    assert after[43].regressed == [] and after[-1].timed[SERIES].status == "ok", "the new level is the baseline now"
    worse = replay([*made.nights(40), *slow, confirmed(65, source, slower={SERIES: 1.45})], [ack]).nights[-1]
    assert worse.new_alarms == [SERIES]


def test_an_improvement_is_told_and_a_reset_makes_it_the_baseline():
    source = rng()
    fast = [made.night(40 + i, source, slower={SERIES: 0.85}) for i in range(24)]
    verdict = Verdict(replay([*made.nights(40), *fast[:4]]))
    assert verdict.code == 0 and verdict.judged.timed[SERIES].status == "improved"
    reset = Decision("2026-02-20", "f00d", SERIES, "reset", fast[0].run_id, "faster kernel")
    lost = replay([*made.nights(40), *fast, confirmed(64, source)], [reset]).nights[-1]
    assert SERIES in lost.new_alarms, "back to the old time is a regression now"


def test_a_new_version_of_a_workload_starts_over():
    import dataclasses

    changed = [dataclasses.replace(n, cells=tuple(dataclasses.replace(c, version=2) for c in n.cells))
               for n in made.nights(3, seed=5)]
    changed = [dataclasses.replace(n, run_id=f"v2-{i}", date=f"2026-06-{i + 1:02d}T03:00:00Z") for i, n in enumerate(changed)]
    judged = replay([*made.nights(40), *changed]).nights[-1]
    assert {o.status for o in judged.timed.values()} == {"learning"}


def test_nights_slowed_on_purpose_are_judged_and_never_learnt():
    source = rng()
    slowed = [confirmed(40 + i, source, slower={SERIES: 1.03}, injected="build=slow:3%") for i in range(10)]
    panel = replay([*made.nights(40), *slowed]).panel
    assert len(panel.series[SERIES].accepted) <= 40


def test_the_change_point_is_where_the_level_changed():
    assert change_point([1.0] * 7 + [2.0] * 5) == 7


# The command


@pytest.fixture
def history(tmp_path):
    """A history of 40 synthetic nights."""
    name = str(tmp_path / "history.sqlite")
    with History.open(name, create=True) as opened:
        for night in made.nights(40):
            opened.add(night)
    return name


def add(name, *nights):
    with History.open(name) as opened:
        for night in nights:
            opened.add(night)
            for again in night.confirmations:
                opened.add(again)


def test_the_command_tells_what_since_when_and_what_changed(history, tmp_path):
    add(history, confirmed(40, rng(), slower={SERIES: 1.2}, kernel="6.1.9"))
    files = [tmp_path / name for name in ("junit.xml", "summary.md", "sbench.prom")]
    files[1].write_text("before\n")
    done = run_reports("gate", "--history", history, "--junit", files[0], "--markdown", files[1], "--openmetrics", files[2])
    assert done.returncode == 3, done.stderr
    for words in ("REGRESSION: 1 new", "overlay2, layer_build.build/image:small", "% slower", "since 2026-02-13", "kernel_release: 6.1.0 → 6.1.9", "the rerun showed",
                  "sbench run --driver overlay2", f"sbench gate --ack '{SERIES}'"):
        assert words in done.stdout
    suite = ElementTree.parse(files[0]).getroot().find("testsuite")
    failed = [case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None]
    assert failed == [SERIES] and suite.get("failures") == "1" and int(suite.get("tests")) == len(suite.findall("testcase"))
    assert files[1].read_text().startswith("before\n## sbench gate: regression")
    check_openmetrics(files[2].read_text(), {"sbench_regression": 1, "sbench_gate_exit_code": 3})


def check_openmetrics(text, expected):
    """Every line parses, families stand together, no timestamps; `expected`: family → largest value."""
    assert text.endswith("# EOF\n")
    seen, current, largest = [], None, {}
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            current = line.split()[2]
            assert current not in seen
            seen.append(current)
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+)', line)
            assert match and match.group(1) == current, line
            largest[current] = max(largest.get(current, float("-inf")), float(match.group(2)))
    for name, value in expected.items():
        assert largest[name] == value


def test_acknowledging_needs_a_reason_and_turns_it_green(history):
    add(history, confirmed(40, rng(), slower={SERIES: 1.2}))
    assert run_reports("gate", "--history", history, "--ack", SERIES).returncode == 2
    assert run_reports("gate", "--history", history, "--ack", "nothing*", "--reason", "x").returncode == 2
    done = run_reports("gate", "--history", history, "--ack", "layer_build.*", "--reason", "new kernel")
    assert (done.returncode, done.stdout) == (0, f"accepted the new level of {SERIES}\n"), done.stderr
    add(history, confirmed(41, rng(7), slower={SERIES: 1.2}))
    assert run_reports("gate", "--history", history).returncode == 0


def test_exit_codes(history, tmp_path):
    assert run_reports("gate", "--history", history).returncode == 0
    assert run_reports("gate", "--history", history, "--openmetrics", tmp_path / "x.txt").returncode == 2
    assert run_reports("gate", "--history", tmp_path / "absent.sqlite").returncode == 1
    short = str(tmp_path / "short.sqlite")
    with History.open(short, create=True) as opened:
        opened.add(made.nights(1)[0])
    assert run_reports("gate", "--history", short).returncode == 0
    assert run_reports("gate", "--history", short, "--strict").returncode == 4
    failed = made.night(2, rng())
    failed.facts["failures"].append({"cell": "layer_build.build/btrfs", "block": 1, "phase": "run", "detail": "no space", "errno": 28})
    add(short, failed)
    done = run_reports("gate", "--history", short, "--junit", tmp_path / "j.xml")
    assert done.returncode == 1 and "no space" in done.stdout
    assert ElementTree.parse(tmp_path / "j.xml").getroot().find("testsuite").get("errors") == "1"
    alone = synthetic_result.make(drivers=("native",), blocks=6, workloads=("layer_build.build",))
    empty = run_reports("gate", stored(tmp_path / "alone.json", alone), "--history", str(tmp_path / "alone.sqlite"))
    assert empty.returncode in (0, 5), empty.stdout


def test_json_and_markdown_say_the_same(history):
    add(history, confirmed(40, rng(), slower={SERIES: 1.2}))
    document = json.loads(run_reports("gate", "--history", history, "--format", "json").stdout)
    assert document["verdict"] == "regression" and document["alarms"][0]["series"] == SERIES
    assert 0.1 < document["alarms"][0]["change"] < 0.3
    assert "### overlay2, layer" in run_reports("gate", "--history", history, "--format", "markdown").stdout


# Confirmation


def test_the_rerun_measures_the_suspects_and_the_control_with_the_options_of_the_night():
    night = made.night(0, rng())
    argv = confirm.command("/bin/sbench", night, [SERIES], "/tmp/out")
    assert argv[:2] == ["/bin/sbench", "run"]
    pattern = re.compile(argv[argv.index("--filter") + 1])
    names = [c.series.lower() for c in night.cells if pattern.search(c.series.lower())]
    assert SERIES in names and "layer_build.build/native/image:small" in names and not any("btrfs" in n for n in names)
    assert argv[argv.index("--kind") + 1] == f"confirmation:{night.run_id}"
    assert "--wipe" not in argv, "an image file needs no permission"


def test_the_command_measures_suspects_again_at_once(history, tmp_path):
    """A stand-in for sbench writes the rerun: as slow as the night was."""
    document = synthetic_result.make(drivers=("native", "overlay2"), blocks=9, workloads=("layer_build.build",))
    source, slow = rng(), made.night(40, rng(), slower={SERIES: 1.2})
    add(history, slow)
    again = made.rerun(slow, source, slower={SERIES: 1.2})
    template = document["benchmarks"][0]
    document["benchmarks"] = []
    for cell in again.cells:
        for block, seconds in zip(cell.blocks, cell.seconds):
            if cell.driver == "btrfs":
                continue
            workload, *params = cell.case.split("/")
            entry = json.loads(json.dumps(template))
            entry.update(name=cell.series.lower(), run_name=cell.series.lower(), real_time=seconds * 1e3, repetition_index=block)
            entry["sbench"].update(block=block, workload=workload, driver=cell.driver, params=dict(p.split(":") for p in params))
            document["benchmarks"].append(entry)
    document["sbench"]["workloads"] = {w: {"version": 1, "summary": "x", "cache": "warm", "durability": "none", "params": {}} for w in {c.workload for c in again.cells}}
    document["sbench"].update(run_id="again", kind=again.kind, drivers=[d for d in document["sbench"]["drivers"]])
    stored(tmp_path / "rerun.json", document)
    program = tmp_path / "sbench"
    program.write_text("#!/bin/sh\nwhile [ \"$1\" != --output ]; do shift; done\nmkdir -p \"$2\" && cp " + str(tmp_path / "rerun.json") + " \"$2/result.json\"\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert run_reports("gate", "--history", history).returncode == 4
    done = run_reports("gate", "--history", history, "--confirm", SBENCH_PROGRAM=str(program))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "measuring 1 suspect again" in done.stderr
    program.write_text("#!/bin/sh\necho 'sbench: no disk' >&2; exit 1\n")
    add(history, made.night(41, rng(77), slower={"layer_build.remove/btrfs/image:small": 1.3}))
    broken = run_reports("gate", "--history", history, "--confirm", SBENCH_PROGRAM=str(program))
    assert broken.returncode == 3 and os.path.exists(history)


# Selftest
