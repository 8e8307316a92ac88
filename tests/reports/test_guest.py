"""Runs inside user-mode Linux: ranked by device bytes; one driver in several engine classes side by side."""

import copy
import json

import synthetic_result
from conftest import run_reports, stored

from reports import measure, result_file
from reports.comparison import Comparison


def inside_uml(document: dict) -> dict:
    """The same run, as if it had happened in a guest."""
    guest = copy.deepcopy(document)
    body = guest["sbench"]
    body["run_id"] = body["run_id"][::-1]
    body["environment"]["version"]["guest"] = {"kind": "user-mode Linux"}
    for driver in body["drivers"]:
        driver["engine"] = "uml" if driver["engine"] == "kernel" else driver["engine"]
    for sample in guest["benchmarks"]:
        sample["real_time"] *= 300
    return guest


def guest_path(tmp_path, **arguments):
    return stored(tmp_path / "guest.json", inside_uml(synthetic_result.make(**arguments)))


def test_the_table_ranks_device_bytes_and_no_time(tmp_path):
    words = " ".join(run_reports("table", guest_path(tmp_path)).stdout.split())
    assert "Device bytes relative to native, uml engines" in words
    assert "Time relative" not in words
    assert "system calls cost about a hundred times the usual" in words


def test_the_best_at_first_writes_is_who_writes_least_whatever_the_times(tmp_path):
    document = inside_uml(synthetic_result.make(blocks=9))
    for sample in document["benchmarks"]:
        if "/btrfs/" in sample["name"]:
            sample["real_time"] *= 50  # slowest by far, and copies nothing
    comparison = Comparison(result_file.load(stored(tmp_path / "guest.json", document)))
    ranking = comparison.by_group["uml"]["copy_up.first_write 64m"]
    assert "btrfs" in ranking.winners
    assert ranking.standings["overlay2"].to_best.value > 1000  # it copies 64 MiB
    assert ranking.standings["btrfs"].measured == measure.BYTES


def test_the_report_shows_times_as_magnitudes_only(tmp_path):
    markdown = run_reports("report", guest_path(tmp_path), "--format", "markdown").stdout
    assert "orders of magnitude only" in markdown and "about 1" in markdown
    assert "Device bytes relative to the best driver" in markdown
    assert "Time relative to the best driver" not in markdown


def test_one_driver_in_two_classes_stands_side_by_side_by_bytes(tmp_path):
    document = synthetic_result.make(blocks=5)
    host = stored(tmp_path / "host.json", document)
    guest = stored(tmp_path / "guest.json", inside_uml(document))
    markdown = run_reports("report", host, guest, "--format", "markdown").stdout
    assert "overlay2 in 2 engine classes, by bytes" in markdown
    line = next(line for line in markdown.splitlines() if "size:64m/" in line and ", written" in line)
    assert "1.00×" in line


def test_compare_of_guest_runs_judges_bytes_and_no_times(tmp_path):
    document = inside_uml(synthetic_result.make(blocks=9))
    slower = copy.deepcopy(document)
    slower["sbench"]["run_id"] = "f" * 26
    for sample in slower["benchmarks"]:
        if "/overlay2/" in sample["name"]:
            sample["real_time"] *= 3
    done = run_reports("compare", stored(tmp_path / "a.json", document), stored(tmp_path / "b.json", slower), "--format", "json")
    assert done.returncode in (0, 4), done.stdout + done.stderr
    assert not [row for row in json.loads(done.stdout)["rows"] if row["metric"] == "real_time"]
def test_winners_inside_user_mode_linux_are_not_called_fastest(tmp_path):
    document = inside_uml(synthetic_result.make(blocks=9))
    other = copy.deepcopy(document)
    other["sbench"]["run_id"] = "e" * 26
    other["sbench"]["environment"]["identity"]["machine"] = "m-other"
    other["sbench"]["environment"]["version"]["distribution"] = "Other Linux 1"
    first, second = stored(tmp_path / "a.json", document), stored(tmp_path / "b.json", other)
    markdown = run_reports("report", first, second, "--format", "markdown").stdout
    assert "Which driver wins on which system" in markdown
    assert "astest" not in markdown.split("<summary>Method")[0]
    assert "Driver with the fewest device bytes for each use on each system" in markdown
    assert "Device bytes as a ratio to native" in markdown and "Time as a ratio" not in markdown


def test_a_guest_beside_a_host_shares_no_ratio(tmp_path):
    """A user-space engine has one class in both; its seconds here and its bytes there are not set beside each other."""
    document = synthetic_result.make(blocks=9)
    for driver in document["sbench"]["drivers"]:
        driver["engine"] = "userspace"
    guest = inside_uml(document)
    guest["sbench"]["environment"]["identity"]["machine"] = "m-other"
    markdown = run_reports("report", stored(tmp_path / "a.json", document), stored(tmp_path / "b.json", guest), "--format", "markdown").stdout
    assert "by device bytes" in markdown
    assert "The same drivers on each system" not in markdown


def test_a_real_facility_and_our_engine_of_it_stand_side_by_side_with_their_ratio(tmp_path):
    document = inside_uml(synthetic_result.make(blocks=5))
    drivers = {driver["slug"]: driver for driver in document["sbench"]["drivers"]}
    drivers["btrfs"]["options"] = {"engine": "auto", "size": "1"}
    drivers["overlay2.backing-xfs"].update(name="btrfs", label="btrfs:engine=userspace", options={"engine": "userspace", "size": "1"})
    drivers["vfs"].update(name="btrfs", label="btrfs:size=2", options={"engine": "auto", "size": "2"})
    for sample in document["benchmarks"]:
        metrics = sample["sbench"]["metrics"]
        real, ours = "/btrfs/" in sample["name"], "/overlay2.backing-xfs/" in sample["name"]
        if (real or ours) and "bytes_dev_written" in metrics:
            metrics["bytes_dev_written"] = 50_000 if real else 70_000
            metrics["bytes_dev_read"] = 50_000
    path = stored(tmp_path / "guest.json", document)
    table = run_reports("table", path).stdout
    assert table.count("Device bytes of ") == 1  # not of the one with another option
    row = next(line for line in table.split("Device bytes of ")[1].splitlines() if line.startswith("copy_up.first_write 64m"))
    assert row.split()[-1] == "1.20", row
    markdown = run_reports("report", path, "--format", "markdown").stdout
    assert "Device bytes of btrfs (uml) and btrfs:engine=userspace" in markdown
