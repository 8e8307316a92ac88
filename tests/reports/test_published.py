"""The page that sets measured figures beside published ones: data, factors, words."""

import copy
import re
import statistics

import pytest
import synthetic_result
from conftest import run_reports, stored
from reports import result_file
from reports.comparison import Comparison
from reports.figures import neighbours, population
from reports.figures import published as page
from reports.published import lines, of_runs, studies
from reports.run_set import Member, RunSet, load

FEW = ("native", "overlay2", "overlay2.backing-xfs", "vfs", "aufs", "zfs")


def compared(tmp_path, **arguments):
    wanted = {"drivers": FEW, "blocks": 3, "workloads": ("peers", "layer_build.pull"), "peers": True} | arguments
    return Comparison(result_file.load(stored(tmp_path / "result.json", synthetic_result.make(**wanted))))


def pages(*comparisons):
    return page.build(RunSet([Member(None, comparison.run) for comparison in comparisons]))


def study(slug):
    return next(s for s in studies() if s.slug == slug)


def test_every_study_names_its_source_and_what_its_numbers_depend_on():
    slugs = [s.slug for s in studies()]
    assert len(slugs) == len(set(slugs)) >= 7
    for each in studies():
        assert all(source.startswith("https://") for source in each.sources) and each.sources
        assert re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", each.date)
        assert all((each.machine, each.kernel, each.device, each.durability, each.cache, each.samples, each.differs))
        assert each.engine == "kernel"
        for row in each.rows:
            assert row.published and all(figure.seconds > 0 for figure in row.published)


def test_workloads_and_drivers_of_the_studies_are_those_sbench_has():
    listed = result_workloads()
    drivers = {"native", "overlay2", "overlay", "btrfs", "aufs", "fuse-overlayfs", "vfs", "devicemapper", "zfs"}
    for each in studies():
        for row in each.rows:
            assert row.workload in listed
            assert {figure.driver for figure in row.published} <= drivers


def result_workloads():
    """Names registered in the sources: what a result can hold."""
    from conftest import ROOT

    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "workloads").rglob("*.cpp"))
    return {name for text in texts for name in re.findall(r'\.name = "([a-z_.]+)"', text)}


def test_published_sums_agree_with_their_parts():
    rows = {row.what: {f.driver: f.seconds for f in row.published} for row in study("containerd-readme").rows}
    for driver in ("overlay2", "devicemapper"):
        assert sum(rows[part][driver] for part in ("prepare", "write", "commit")) == pytest.approx(rows["everything"][driver], rel=0.01)


def test_factors_relate_to_the_reference_on_both_sides(tmp_path):
    comparison = compared(tmp_path)
    found = {(line.what, line.driver): line for line in lines(comparison, study("containerd-readme"))}
    assert found["everything", "devicemapper"].published_factor == pytest.approx(3.139232730 / 1.019730210)
    assert found["everything", "devicemapper"].measured_s is None
    assert found["everything", "overlay2"].measured_factor == 1.0
    run = comparison.run
    case = run.cases_of("peers.benchsuite")[0]
    medians = {slug: statistics.median(s.seconds for s in run.blocks(case, slug).values()) for slug in ("overlay2", "vfs")}
    assert found["everything", "vfs"].measured_factor == pytest.approx(medians["vfs"] / medians["overlay2"])
    assert found["everything", "vfs"].published_s is None


def test_phases_add_up_and_variants_of_a_driver_stand_beside_it(tmp_path):
    comparison = compared(tmp_path)
    run = comparison.run
    case = run.cases_of("peers.benchsuite")[0]
    expected = statistics.median(sum(s.phases[p]["seconds"] for p in ("mount", "write", "unmount")) for s in run.blocks(case, "overlay2").values())
    found = {(line.what, line.driver): line for line in lines(comparison, study("containerd-readme"))}
    assert found["write", "overlay2"].measured_s == pytest.approx(expected)
    assert found["write", "overlay2:backing=xfs"].published_s == found["write", "overlay2"].published_s


def test_a_user_space_engine_is_shown_and_never_ranked(tmp_path):
    for line in lines(compared(tmp_path), study("storage-tasks-2017")):
        if line.driver in ("aufs", "zfs"):
            assert line.engine == "userspace" and line.measured_s and line.measured_factor is None
        else:
            assert line.measured_factor is not None or line.measured_s is None


def test_another_size_is_named(tmp_path):
    found = lines(compared(tmp_path), study("storage-tasks-2017"))
    assert {line.what for line in found} == {"append-tree, 10 workers"}
    assert {line.size for line in found} == {"scale:16"}


def test_report_has_the_page_in_html_and_markdown(tmp_path):
    path = stored(tmp_path / "result.json", synthetic_result.make(drivers=FEW, blocks=3, peers=True, workloads=("peers", "layer_build.pull")))
    done = run_reports("report", path, "--format", "markdown")
    assert done.returncode == 0, done.stderr
    html = run_reports("report", path, "-o", tmp_path / "r.html")
    assert html.returncode == 0, html.stderr
    for text in (done.stdout, (tmp_path / "r.html").read_text(encoding="utf-8")):
        assert "Beside published figures: docker-storage-benchmark, October 2017" in text
        for reason in ("Kernel: theirs", "Device: theirs tmpfs", "Engine: theirs kernel", "Durability: theirs none"):
            assert reason in text
        assert "4.14.88" in text and "3.13 s" in text


def test_a_run_of_peers_alone_says_once_that_it_speaks_for_no_use(tmp_path):
    path = stored(tmp_path / "result.json", synthetic_result.make(drivers=FEW, blocks=1, peers=True, workloads=("peers",)))
    assert run_reports("report", path, "-o", tmp_path / "r.html").returncode == 0
    page_text, markdown = (tmp_path / "r.html").read_text(encoding="utf-8"), run_reports("report", path, "--format", "markdown").stdout
    for words in (page_text, markdown):
        assert words.count("No case of this run speaks for a use") == 1
        assert "no case of this run speaks for it" not in words.split("<script")[0]


def test_without_the_peers_workloads_there_is_no_page(tmp_path):
    assert pages(compared(tmp_path, peers=False)) == []


def histogram_of(*milliseconds):
    return synthetic_result._histogram([int(value * 1e6) for value in milliseconds])


def with_latencies(tmp_path, workload, params, by_driver):
    """A result whose only peers' cell is `workload`, with the given latencies for each driver."""
    document = synthetic_result.make(drivers=("native", "overlay2", "btrfs"), blocks=2, workloads=("layer_build.pull",))
    document["sbench"]["workloads"][workload] = {"version": 1, "summary": "s", "cache": "warm", "durability": "none", "params": {}}
    like = document["benchmarks"][0]
    for driver, latency in by_driver.items():
        for each in params:
            entry = copy.deepcopy(like)
            entry["name"] = entry["run_name"] = "/".join([workload, driver, *(f"{k}:{v}" for k, v in each.items())])
            entry["sbench"] |= {"workload": workload, "driver": driver, "params": each, "latency": latency(each), "phases": {}}
            document["benchmarks"].append(entry)
    return Comparison(result_file.load(stored(tmp_path / "latencies.json", document)))


def test_a_deletion_is_set_against_the_neighbour_alone(tmp_path):
    comparison = with_latencies(tmp_path, "peers.neighbour", [{"writes": "3", "scale": "1"}], {
        "overlay2": lambda _: {"alone": histogram_of(1, 1, 1), "beside_deletion": histogram_of(4, 4, 9)}})
    (figure,) = neighbours.build(comparison)
    driver, files, alone, beside, ratio, longest, writes = figure.rows[0]
    assert (driver, files, writes) == ("overlay2", "scale:1", "3")
    assert float(ratio.rstrip("×")) == pytest.approx(4, rel=0.02) and longest.startswith(("8.9", "9.0"))


def test_layers_in_the_store_are_read_per_operation_and_count(tmp_path):
    params = [{"layers": n} for n in ("1", "100")]
    comparison = with_latencies(tmp_path, "scale.layers", params, {
        driver: lambda each: {"prepare": histogram_of(int(each["layers"]) ** 0.5), "remove": histogram_of(2)} for driver in ("overlay2", "btrfs")})
    figure = population.build(comparison)
    assert population.medians(comparison)["prepare"]["btrfs"][100] == pytest.approx(0.010, rel=0.01)
    assert [row[:2] for row in figure.rows] == [("prepare a layer", "1"), ("prepare a layer", "100"), ("remove it", "1"), ("remove it", "100")]
    assert "overlay2 10.0×" in figure.alt or "overlay2 9.9" in figure.alt
    figure.draw()


def test_what_is_missing_says_why(tmp_path):
    body = synthetic_result.make(drivers=FEW, blocks=3, peers=True, workloads=("peers",))
    cell = next(b["name"] for b in body["benchmarks"] if b["name"].startswith("peers.benchsuite/vfs/"))
    body["benchmarks"] = [b for b in body["benchmarks"] if b["name"] != cell]
    body["sbench"]["skips"].append({"cell": cell, "driver": "vfs", "code": "unsupported", "detail": "the device is full", "remedy": "a bigger one"})
    comparison = Comparison(result_file.load(stored(tmp_path / "result.json", body)))
    found = {(line.what, line.driver): line for line in lines(comparison, study("containerd-2988"))}
    assert found["everything", "vfs"].measured_s is None and found["everything", "vfs"].absence == "the device is full"
    assert found["everything", "devicemapper"].absence == "the kernel has no dm-thin target"
    assert found["everything", "overlay2"].absence == ""
    notes = next(f for f in pages(comparison) if f.slug == "published-containerd-2988").notes
    assert "Not measured here: vfs: the device is full." in notes
    assert "Not measured here: devicemapper: the kernel has no dm-thin target." in notes
    few = compared(tmp_path, drivers=("native", "overlay2"), blocks=1, workloads=("peers",))
    assert {line.absence for line in lines(few, study("containerd-2988")) if line.driver == "vfs"} == {"not in this run"}


def run_of(tmp_path, name, date, drivers, **changes):
    """A stored run; `changes` to its environment's version."""
    body = synthetic_result.make(drivers=drivers, blocks=1, peers=True, workloads=("peers",), seed=sum(name.encode()))
    body["context"]["date"] = date
    body["sbench"]["run_id"] = name
    body["sbench"]["environment"]["version"] |= changes
    return stored(tmp_path / f"{name}.json", body)


def test_drivers_of_several_runs_stand_in_one_table(tmp_path):
    older = run_of(tmp_path, "older", "2026-09-01T01:00:00+00:00", ("native", "overlay2", "zfs"))
    newer = run_of(tmp_path, "newer", "2026-09-02T01:00:00+00:00", ("native", "overlay2", "vfs"))
    runs = load([older, newer])
    each = {member.run.body["run_id"]: {(line.what, line.driver): line for line in lines(member.comparison, study("containerd-2988"))}
            for member in runs.members}
    merged = of_runs([member.comparison for member in reversed(runs.members)], study("containerd-2988"))
    found = {(line.what, line.driver): line for line in merged}
    assert len(found) == len(merged)
    assert found["everything", "overlay2"] == each["newer"]["everything", "overlay2"] != each["older"]["everything", "overlay2"]
    assert found["everything", "vfs"] == each["newer"]["everything", "vfs"]
    assert found["everything", "zfs"] == each["older"]["everything", "zfs"]
    assert [line.what for line in merged] == sorted((line.what for line in merged), key=[row.what for row in study("containerd-2988").rows].index)
    notes = next(f for f in page.build(runs) if f.slug == "published-containerd-2988").notes
    assert any(note.startswith("Here: 2 runs of this machine (2026-09-02 01:00, 2026-09-01 01:00)") for note in notes)


def test_another_kernel_or_machine_has_a_table_of_its_own(tmp_path):
    older = run_of(tmp_path, "older", "2026-09-01T01:00:00+00:00", ("native", "overlay2", "zfs"), kernel_release="5.10.0")
    newer = run_of(tmp_path, "newer", "2026-09-02T01:00:00+00:00", ("native", "overlay2", "vfs"))
    (table,) = (f for f in page.build(load([older, newer])) if f.slug == "published-containerd-2988")
    assert "zfs" not in {row[1] for row in table.rows}


def test_a_row_nobody_published_or_measured_is_not_shown_and_one_size_is_no_column(tmp_path):
    body = synthetic_result.make(drivers=FEW, blocks=1, peers=True, workloads=("peers",))
    body["benchmarks"] = [b for b in body["benchmarks"] if not b["name"].startswith("peers.benchsuite/native/")]
    tables = {f.slug: f for f in pages(Comparison(result_file.load(stored(tmp_path / "result.json", body))))}
    published = tables["published-containerd-2988"]
    assert "native" not in {row[1] for row in published.rows}
    assert "size" not in published.columns and "at the published size" in published.lead
    assert "size" in tables["published-storage-tasks-2017"].columns  # a sixteenth there
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
