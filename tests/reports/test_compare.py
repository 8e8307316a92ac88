"""sbench compare: verdicts, exit codes, refusals, pairing; and that equal runs raise no alarm."""

import copy
import json

import pytest
import synthetic_result
from conftest import run_reports, stored
from reports import ab, result_file

FEW = ("native", "overlay2", "btrfs")


def made(seed=1, run_id=None, **arguments):
    document = synthetic_result.make(seed=seed, **({"drivers": FEW, "workloads": ("layer_build.pull", "copy_up.first_write")} | arguments))
    document["sbench"]["run_id"] = run_id or f"run-{seed}"
    return document


def slowed(document, driver, workload, factor):
    changed = copy.deepcopy(document)
    for entry in changed["benchmarks"]:
        if entry["sbench"]["driver"] == driver and entry["sbench"]["workload"] == workload:
            entry["real_time"] *= factor
    return changed


def compared(tmp_path, a, b, *arguments):
    done = run_reports("compare", stored(tmp_path / "a.json", a), stored(tmp_path / "b.json", b), *arguments, "--format", "json")
    return done.returncode, json.loads(done.stdout)


def verdicts(document, level="workload"):
    return {(r["driver"], r["name"]): r["verdict"] for r in document["rows"] if r["metric"] == "real_time" and r["level"] == level}


def test_equal_runs_show_no_regression(tmp_path):
    code, found = compared(tmp_path, made(1), made(2))
    assert (code, found["verdict"]) == (0, "no regression")
    assert set(verdicts(found).values()) == {"no difference"}
    assert found["relative_to_control"] and not found["paired"]


def test_a_slower_driver_is_named_and_the_exit_code_is_3(tmp_path):
    code, found = compared(tmp_path, made(1), slowed(made(2), "overlay2", "layer_build.pull", 1.2))
    assert (code, found["verdict"]) == (3, "slower")
    assert {k for k, v in verdicts(found).items() if v == "slower"} == {("overlay2", "layer_build.pull")}
    row = next(r for r in found["rows"] if r["verdict"] == "slower")
    assert row["ci95"][0] < 1.2 < row["ci95"][1] and row["adjusted_p"] < 0.05


def test_a_faster_driver_is_no_regression(tmp_path):
    code, found = compared(tmp_path, made(1), slowed(made(2), "btrfs", "layer_build.pull", 0.7))
    assert code == 0 and verdicts(found)["btrfs", "layer_build.pull"] == "faster"


def test_a_slower_machine_cancels_and_is_said(tmp_path):
    b = made(2)
    for entry in b["benchmarks"]:
        entry["real_time"] *= 1.5
    code, found = compared(tmp_path, made(1), b)
    assert code == 0
    assert any("native itself took 1.5" in caution for caution in found["cautions"])
    assert compared(tmp_path, made(1), b, "--absolute")[0] == 3


def test_wild_times_are_unstable_and_inconclusive(tmp_path):
    code, found = compared(tmp_path, made(1, noise=0.5), made(2, noise=0.5))
    assert (code, found["verdict"]) == (4, "inconclusive")
    assert "unstable" in verdicts(found).values() and "slower" not in verdicts(found).values()


def test_too_few_blocks_make_no_claim(tmp_path):
    code, found = compared(tmp_path, made(1, blocks=3), slowed(made(2, blocks=3), "overlay2", "layer_build.pull", 3))
    assert code == 4 and set(verdicts(found).values()) == {"unstable"}
    assert any("too few blocks" in caution for caution in found["cautions"])
    assert all("ci95" not in row for row in found["rows"])


def test_more_device_bytes_are_a_regression_although_the_time_is_the_same(tmp_path):
    b = made(2)
    for entry in b["benchmarks"]:
        if entry["sbench"]["workload"] == "layer_build.pull" and entry["sbench"]["driver"] == "btrfs":
            entry["sbench"]["metrics"]["bytes_dev_written"] *= 1.02
    code, found = compared(tmp_path, made(1), b)
    more = [r for r in found["rows"] if r["verdict"] == "more"]
    assert code == 3 and [(r["driver"], r["metric"]) for r in more] == [("btrfs", "bytes_dev_written")]


@pytest.mark.parametrize("a, b, unit, verdict", [
    ([100e6] * 5, [101.5e6] * 5, "B", "more"), ([100e6] * 5, [100.5e6] * 5, "B", "same"), ([100e6] * 5, [98e6] * 5, "B", "less"),
    ([100e6] * 5, [103e6, 103e6, 103e6, 100e6, 103e6], "B", "varies"), ([4096] * 5, [90_000] * 5, "B", "same"), ([3] * 5, [5] * 5, "1", "more"),
    ([3] * 2, [5] * 2, "1", "varies"),
])
def test_counts_move_by_one_percent_and_one_mebibyte_in_every_block(a, b, unit, verdict):
    assert ab.exact_verdict(a, b, False, unit) == verdict
    assert ab.exact_verdict(a, b, True, unit) == verdict


def test_two_drivers_of_one_run_pair_by_block(tmp_path):
    document = made(1, noise=0.02)
    for entry in document["benchmarks"]:
        entry["real_time"] *= 4 ** entry["sbench"]["block"]  # cancels only in pairs
    path = stored(tmp_path / "r.json", document)
    done = run_reports("compare", path, "--driver", "overlay2", "--driver", "btrfs", "--format", "json")
    found = json.loads(done.stdout)
    assert done.returncode == 3 and found["paired"] and not found["relative_to_control"]
    row = next(r for r in found["rows"] if r["level"] == "workload" and r["name"] == "layer_build.pull")
    assert row["ratio"] == pytest.approx(1.3 / 1.05, rel=0.03) and row["verdict"] == "slower"
    back = run_reports("compare", path, "--driver", "btrfs", "--driver", "overlay2", "--workload", "layer_build", "--format", "json")
    assert back.returncode == 0 and verdicts(json.loads(back.stdout))["overlay2", "layer_build.pull"] == "faster"


def test_engine_classes_are_not_compared_by_time(tmp_path, everything):
    done = run_reports("compare", everything, "--driver", "overlay2", "--driver", "zfs", "--format", "json")
    found = json.loads(done.stdout)
    assert not [r for r in found["rows"] if r["metric"] == "real_time"]
    assert any("engine classes" in caution for caution in found["cautions"])


def test_other_hardware_compares_by_ratio_and_refuses_seconds(tmp_path):
    b = made(2)
    b["sbench"]["environment"]["identity"]["machine"] = "m-other"
    code, found = compared(tmp_path, made(1), b)
    assert code == 0 and any("hardware differs (machine)" in caution for caution in found["cautions"])
    assert {"tier": "identity", "name": "machine", "values": ["m-synthetic", "m-other"]} in found["differences"]
    refused = run_reports("compare", tmp_path / "a.json", tmp_path / "b.json", "--absolute")
    assert refused.returncode == 1 and "hardware" in refused.stderr and refused.stderr.count("\n") == 1


def test_other_suites_are_refused(tmp_path):
    b = made(2)
    b["sbench"]["suite"]["version"] = 9
    done = run_reports("compare", stored(tmp_path / "a.json", made(1)), stored(tmp_path / "b.json", b))
    assert (done.returncode, done.stdout) == (1, "") and "suites differ (default 1, default 9)" in done.stderr


def test_a_workload_whose_version_changed_is_left_out_and_said(tmp_path):
    b = slowed(made(2), "overlay2", "layer_build.pull", 9)
    b["sbench"]["workloads"]["layer_build.pull"]["version"] = 2
    code, found = compared(tmp_path, made(1), b)
    assert code == 0 and {name for _, name in verdicts(found)} == {"copy_up.first_write"}
    assert any("layer_build.pull: versions 1, 2" in caution for caution in found["cautions"])


@pytest.mark.parametrize("arguments, words", [
    ((), "two --driver"), (("--driver", "overlay2"), "two --driver"), (("--driver", "overlay2", "--driver", "overlay2"), "both"),
    (("--driver", "overlay2", "--driver", "aufs9"), "no driver 'aufs9'"), (("--driver", "a", "--driver", "b", "--driver", "c"), "at most twice"),
])
def test_mistakes_are_usage_errors(nine, arguments, words):
    done = run_reports("compare", nine, *arguments)
    assert (done.returncode, done.stdout) == (2, "") and words in done.stderr and done.stderr.count("\n") == 1


def test_no_case_in_common_is_nothing_to_report(tmp_path):
    b = made(2)
    for entry in b["benchmarks"]:
        entry["sbench"]["params"] = entry["sbench"]["params"] | {"other": "1"}
    done = run_reports("compare", stored(tmp_path / "a.json", made(1)), stored(tmp_path / "b.json", b))
    assert done.returncode == 5 and "no finished case in common" in done.stderr


def test_text_and_markdown_say_what_json_says(tmp_path):
    a, b = stored(tmp_path / "a.json", made(1)), stored(tmp_path / "b.json", slowed(made(2), "overlay2", "layer_build.pull", 1.2))
    words = run_reports("compare", a, b).stdout
    assert "Verdict: slower" in words and "times relative to native" in " ".join(words.split())
    page = run_reports("compare", a, b, "--format", "markdown").stdout
    assert page.startswith("## sbench compare: slower") and page.index("Single cases") < page.index("Workloads (geo")
    for output in (words, page):
        assert "layer_build.pull" in output.replace("\\", "") and "slower" in output


def test_equal_runs_raise_an_alarm_in_at_most_one_of_twenty(tmp_path):
    path = tmp_path / "r.json"
    runs = [result_file.load(stored(path, made(seed, noise=0.05, drivers=("native", "overlay2")))) for seed in range(20)]
    alarms = sum(ab.compare(first, second).verdict == "slower" for first, second in zip(runs[::2], runs[1::2]))
    alarms += sum(ab.compare(second, first).verdict == "slower" for first, second in zip(runs[::2], runs[1::2]))
    assert alarms <= 1
