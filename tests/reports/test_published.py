"""The page that sets measured figures beside published ones: data, factors, words."""

import re
import statistics

import pytest
import synthetic_result
from conftest import run_reports, stored
from reports import result_file
from reports.comparison import Comparison
from reports.figures import published as page
from reports.published import lines, studies

FEW = ("native", "overlay2", "overlay2.backing-xfs", "vfs", "aufs", "zfs")


def compared(tmp_path, **arguments):
    wanted = {"drivers": FEW, "blocks": 3, "workloads": ("peers", "layer_build.pull"), "peers": True} | arguments
    return Comparison(result_file.load(stored(tmp_path / "result.json", synthetic_result.make(**wanted))))


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


def test_without_the_peers_workloads_there_is_no_page(tmp_path):
    assert page.build(compared(tmp_path, peers=False)) == []
