"""sbench report of several runs and machines, its figures one by one, CSV, and what the new figures compute."""

import copy
import csv
import io
import json
import math
import re

import numpy as np
import pytest
import synthetic_result
from conftest import run_reports, stored
from reports import likeness, result_file, run_set, use_cases
from reports.comparison import Comparison
from reports.figures import across, cost_panel, forest, latency, quality, scaling, stability

FEW = ("native", "overlay2", "btrfs")


def made(run_id, date="2026-01-01T00:00:00Z", machine=None, system=None, **arguments):
    document = synthetic_result.make(**({"drivers": FEW, "blocks": 6, "seed": sum(run_id.encode())} | arguments))
    document["sbench"]["run_id"] = run_id
    document["context"]["date"] = date
    environment = document["sbench"]["environment"]
    if machine:
        environment["identity"]["machine"] = machine
    if system:
        environment["version"]["distribution"] = system
    return document


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems")
    return [stored(folder / "debian.json", made("aaaa", machine="m-1", system="Debian 12")),
            stored(folder / "fedora.json", made("bbbb", "2026-01-02T00:00:00Z", machine="m-2", system="Fedora 41"))]


def loaded(tmp_path, *documents):
    return run_set.load([stored(tmp_path / f"{i}.json", document) for i, document in enumerate(documents)])


def test_runs_are_ordered_by_date_and_named_by_what_tells_them_apart(tmp_path):
    found = loaded(tmp_path, made("b", "2026-01-03T00:00:00Z"), made("a", "2026-01-01T00:00:00Z"))
    assert [m.run.body["run_id"] for m in found.members] == ["a", "b"]
    assert found.names(found.members) == ["2026-01-01 00:00", "2026-01-03 00:00"]
    assert len(found.machines) == 1 and len(found.latest_by_system) == 1


def test_systems_are_named_by_their_distribution(systems):
    found = run_set.load(systems)
    assert found.names(found.members) == ["Debian 12", "Fedora 41"] and not found.likeness.same_machine


def test_the_same_run_twice_is_a_usage_error(systems):
    done = run_reports("report", systems[0], systems[0], "--format", "csv")
    assert done.returncode == 2 and "hold the same run" in done.stderr and done.stderr.count("\n") == 1


def test_unlike_suites_are_refused_in_one_line(tmp_path, systems):
    other = made("cccc")
    other["sbench"]["suite"] = {"name": "default", "version": 2, "hash": "x"}
    done = run_reports("report", systems[0], stored(tmp_path / "r.json", other), "-o", tmp_path / "r.html")
    assert (done.returncode, done.stdout) == (1, "") and "suites differ" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_a_bad_file_among_good_ones_writes_nothing(tmp_path, systems):
    (tmp_path / "cut.json").write_bytes(systems[0].read_bytes()[:5000])
    before = systems[0].read_bytes()
    done = run_reports("report", systems[0], tmp_path / "cut.json", "-o", tmp_path / "r.html")
    assert done.returncode == 1 and "cut.json is cut short" in done.stderr and not (tmp_path / "r.html").exists()
    assert systems[0].read_bytes() == before


def test_only_differences_of_the_environment_are_listed(tmp_path):
    a, b = made("a"), made("b")
    for document, kernel, load in ((a, "6.1", [1.0]), (b, "6.12", [2.0])):
        document["sbench"]["environment"]["version"]["kernel_release"] = kernel
        document["sbench"]["environment"]["state"]["load_average"] = load
    found = likeness.differences([result_file.load(stored(tmp_path / "r.json", d)) for d in (a, b)])
    assert [(d.tier, d.name, d.values) for d in found] == [("version", "kernel_release", ("6.1", "6.12"))]


def test_a_driver_of_another_engine_class_is_said_and_not_set_side_by_side(tmp_path):
    a, b = made("a", machine="m-1", system="A", drivers=("native", "overlay2", "zfs")), made("b", machine="m-2", system="B", drivers=("native", "overlay2", "zfs"))
    for driver in a["sbench"]["drivers"]:
        driver["engine"] = "kernel"
    found = loaded(tmp_path, a, b)
    assert any("zfs ran in different engine classes" in caution for caution in found.likeness.cautions)
    picture = next(f for f in across.build(found, use_cases.load()) if f.slug == "across-systems")
    assert {row[1] for row in picture.rows} == {"overlay2 (kernel)"}


def test_page_of_two_systems_has_winners_ratios_and_differences(systems, tmp_path):
    done = run_reports("report", *systems, "-o", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    order = [page.index(f'id="{slug}"') for slug in ("verdict", "runs", "heat-map-kernel-h", "machine-quality-h", "winners-by-system-h",
                                                      "across-systems-h", "environment-differences-h", "method")]
    assert order == sorted(order)
    assert "hardware differs (machine)" in page and "Fedora 41" in page
    data = json.loads(re.search(r'id="sbench-data">(.*?)</script>', page, re.S)[1])
    assert [d["run_id"] for d in data] == ["aaaa", "bbbb"], "two whole results would pass the size budget: summaries"


def test_page_of_several_systems_is_the_same_in_any_order_of_files(systems, tmp_path):
    pages = []
    for files in (systems, systems[::-1]):
        run_reports("report", *files, "-o", tmp_path / "r.html")
        pages.append((tmp_path / "r.html").read_bytes())
    assert pages[0] == pages[1]


def test_runs_of_one_machine_show_the_spread_between_runs(tmp_path):
    documents = []
    for night in range(4):
        document = made(f"n{night}", f"2026-01-0{night + 1}T00:00:00Z", workloads=("layer_build.pull", "copy_up.first_write"), noise=0.01)
        for entry in document["benchmarks"]:
            entry["real_time"] *= (1.0, 1.3, 0.8, 1.1)[night]
        documents.append(document)
    found = quality.build(loaded(tmp_path, *documents))
    assert found.alt.startswith("Spread between") and "runs" in found.alt
    alone = quality.build(loaded(tmp_path, documents[0]))
    assert "runs" not in alone.alt


def test_csv_has_a_row_for_every_sample_and_value(systems):
    done = run_reports("report", *systems, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    documents = [json.loads(path.read_text()) for path in systems]
    times = [row for row in rows if row["metric"] == "real_time"]
    assert len(times) == sum(len(d["benchmarks"]) for d in documents) and {row["run_id"] for row in times} == {"aaaa", "bbbb"}
    entry = documents[0]["benchmarks"][0]
    row = next(r for r in times if (r["run_id"], r["block"]) == ("aaaa", str(entry["sbench"]["block"])) and r["driver"] == entry["sbench"]["driver"]
               and r["workload"] == entry["sbench"]["workload"] and r["params"] == "/".join(f"{k}:{v}" for k, v in entry["sbench"]["params"].items()))
    assert float(row["value"]) == pytest.approx(entry["real_time"] / 1e3)


@pytest.mark.parametrize("suffix, start", [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_one_figure_by_name(systems, tmp_path, suffix, start):
    done = run_reports("report", systems[0], "--figure", "cost", "-o", tmp_path / f"cost{suffix}")
    assert done.returncode == 0 and (tmp_path / f"cost{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("arguments, words", [
    (("--figure", "nonsense", "-o", "x.svg"), "it has heat-map-kernel, "), (("--figure", "cost"), "needs --output"),
    (("--figure", "cost", "-o", "x.pdf"), "needs --output"), (("--use-cases", "/none.ini"), "cannot read /none.ini"),
])
def test_mistakes_name_the_way_out(systems, arguments, words):
    done = run_reports("report", systems[0], *arguments)
    assert (done.returncode, done.stdout) == (2, "") and words in done.stderr and done.stderr.count("\n") == 1


def test_table_and_json_show_one_result_only(systems):
    for form in ("table", "json"):
        assert run_reports("report", *systems, "--format", form).returncode == 2


def test_text_forms_can_go_to_a_file(systems, tmp_path):
    done = run_reports("report", systems[0], "--format", "markdown", "-o", tmp_path / "r.md")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "r.md").read_text() == run_reports("report", systems[0], "--format", "markdown").stdout


def test_weights_of_an_own_file_reach_the_page_and_the_verdict(systems, tmp_path):
    (tmp_path / "mine.ini").write_text("[mine]\ntitle = My own <use>\ncases =\n  2 layer_build.pull\n  1 layer_build.diff\n")
    run_reports("report", systems[0], "--use-cases", tmp_path / "mine.ini", "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "My own &lt;use&gt;" in page and "CI builder" not in page
    assert "pull 67 %" in page and "diff 33 %" in page


def comparison_of(tmp_path, document):
    return Comparison(result_file.load(stored(tmp_path / "r.json", document)))


def test_forest_counts_the_rows_that_cost_more_than_native(tmp_path):
    (figure,) = forest.build(comparison_of(tmp_path, made("a", noise=0.002)))
    assert re.search(r"btrfs 16 of 16", figure.alt)


def test_latency_curve_ends_where_ten_values_lie_beyond(tmp_path):
    assert latency.quantiles(1000)[-1] == pytest.approx(0.99) and latency.quantiles(100)[-1] == pytest.approx(0.9)
    document = made("a", workloads=("cache_reuse.containers",), blocks=10)
    comparison = comparison_of(tmp_path, document)
    assert [(case.param("containers"), operation) for case, operation, _ in latency.operations(comparison)] == [("16", "start")]
    found = latency.curve(comparison, latency.operations(comparison)[0][0], "start", "overlay2")
    assert found.count == 160 and found.q[-1] == pytest.approx(1 - 10 / 160)
    assert all(a <= b for a, b in zip(found.seconds, found.seconds[1:]))
    assert all(low <= middle * 1.02 and middle <= high * 1.02 for low, middle, high in zip(found.low, found.seconds, found.high))
    assert "closed" in latency.operations(comparison)[0][2]


def test_latency_needs_a_hundred_values(tmp_path):
    assert latency.build(comparison_of(tmp_path, made("a", workloads=("copy_up.first_write",)))) is None


def test_cost_panel_divides_by_what_the_application_wrote(tmp_path):
    figure = cost_panel.build(comparison_of(tmp_path, made("a", drivers=("native", "overlay2", "vfs"))))
    assert figure.columns[1] == "device bytes per byte of a pulled image"
    assert dict((row[0], row[1]) for row in figure.rows)["vfs"] == "3.17×"


def test_space_of_a_pulled_image_is_what_the_pull_added_not_what_is_left_when_it_is_removed(tmp_path):
    document = made("a", drivers=("native", "overlay2", "vfs"))
    for entry in document["benchmarks"]:
        if entry["name"].startswith("layer_build.pull/"):
            entry["sbench"]["metrics"] |= {"space_growth_bytes": 5 * 2**20, "space_bytes": 0}
    figure = cost_panel.build(comparison_of(tmp_path, document))
    assert dict((row[0], row[figure.columns.index("space of the pulled image")]) for row in figure.rows)["vfs"] == "5 MiB"


def test_scaling_says_the_share_of_ideal(tmp_path):
    document = made("a", workloads=("copy_up.tree_append",), noise=0)
    for entry in document["benchmarks"]:
        if entry["sbench"]["params"]["workers"] == "4":
            entry["real_time"] /= 2
    comparison = comparison_of(tmp_path, document)
    cases = scaling.cases_by_workers(comparison)
    assert scaling.efficiency(comparison, cases, "overlay2") == pytest.approx(0.5)
    assert scaling.build(comparison).rows[-1][1:] == ("50 %", "50 %", "50 %")


@pytest.mark.parametrize("values, window", [
    ([100, 101, 99, 100, 102], 0), ([200, 150, 100, 101, 99, 100, 102], 2), ([100, 100, 100, 100, 130], None),
    ([100, 103, 106, 109, 113], None), ([100, 101, 99], None),
])
def test_steady_window_is_snias(values, window):
    assert stability.steady_window(np.array(values, float)) == window


def test_stability_needs_five_blocks_and_names_what_never_settled(tmp_path):
    assert stability.build(comparison_of(tmp_path, made("a", blocks=4))) is None
    document = made("a", workloads=("layer_build.pull",), noise=0.01)
    for entry in document["benchmarks"]:
        if entry["sbench"]["driver"] == "btrfs":
            entry["real_time"] *= 1.2 ** entry["sbench"]["block"]
    rows = {row[0]: row[2] for row in stability.build(comparison_of(tmp_path, document)).rows}
    assert rows["btrfs"] == "not steady" and rows["overlay2"] == "block 0"


def test_smallest_visible_effect_grows_with_the_noise(tmp_path):
    quiet, wild = (quality.detectable(comparison_of(tmp_path, made("a", noise=noise))) for noise in (0.01, 0.1))
    middle = [rows[len(rows) // 2][2] for rows in (quiet, wild)]
    assert middle[0] < 0.05 < middle[1]
    expected = math.expm1(3.42 * math.sqrt(1.05) * 1.2533 * math.sqrt(2) * 0.01 / math.sqrt(6))
    singles = [effect for key, _, effect in quiet if key in ("layer_build.pull", "layer_build.remove", "layer_build.depth")]
    assert np.median(singles) == pytest.approx(expected, rel=0.8)


def test_environment_of_hostile_strings_is_escaped_across_systems(systems, tmp_path):
    hostile = made("hhhh", machine="m-3", system="<script>alert(1)</script>|x")
    page = tmp_path / "r.html"
    assert run_reports("report", systems[0], stored(tmp_path / "h.json", hostile), "-o", page).returncode == 0
    assert "<script>alert" not in page.read_text()
    words = run_reports("report", systems[0], tmp_path / "h.json", "--format", "markdown").stdout
    assert "<script>" not in words


def test_reports_do_not_change_what_they_read(systems, tmp_path):
    before = copy.deepcopy([path.read_bytes() for path in systems])
    run_reports("report", *systems, "-o", tmp_path / "r.html")
    assert [path.read_bytes() for path in systems] == before


@pytest.mark.parametrize(("blocks", "noise", "kinds"), [(6, 0.005, {"sure", "tie"}), (3, 0.02, {"hint"})])
def test_a_glance_says_sure_only_where_it_is(tmp_path, blocks, noise, kinds):
    (member,) = loaded(tmp_path, made("glance", blocks=blocks, noise=noise, workloads=("layer_build.build", "cache_reuse.containers"))).members
    marks = {v.use_case.key: use_cases.mark(v) for v in use_cases.verdicts(member.comparison)}
    assert marks["small-files"] == ("none", "no data")
    seen = {kind for kind, _ in marks.values() if kind != "none"}
    assert seen and seen <= kinds


def test_a_tie_shows_the_price_of_every_driver_in_it(tmp_path):
    """'Tie: choose by price' says nothing where only one price is shown."""
    path = stored(tmp_path / "tied.json", synthetic_result.make(drivers=("native", "overlay2", "overlay2.metacopy-on", "btrfs"), blocks=9, noise=0.5, workloads=("layer_build",)))
    comparison = Comparison(result_file.load(path))
    verdict = next(v for v in use_cases.verdicts(comparison) if v.ranking.ties)
    prices = use_cases.prices(comparison, verdict)
    assert {label for label, _ in prices} == {comparison.run.label(d) for d in verdict.ranking.winners}
    written = use_cases.device_bytes(comparison, verdict.ranking)
    assert [written[d] for label, _ in prices for d in written if comparison.run.label(d) == label] == sorted(written[d] for d in verdict.ranking.winners)
    assert all(lines for _, lines in prices)
    markdown = run_reports("report", path, "--format", "markdown").stdout
    row = next(line for line in markdown.splitlines() if line.startswith(f"| {verdict.use_case.title}"))
    assert all(f"{label}: writes" in row for label, _ in prices)


def test_a_driver_that_docker_removed_says_so_in_its_price(tmp_path):
    path = stored(tmp_path / "old.json", synthetic_result.make(drivers=("native", "aufs", "overlay2"), blocks=9, workloads=("layer_build",)))
    comparison = Comparison(result_file.load(path))
    lines = {d: use_cases.price(comparison, v, d) for v in use_cases.verdicts(comparison) for d in v.ranking.winners}
    assert lines["aufs"][-1] == "Docker has no such driver since 24.0"
    assert not any("Docker" in line for line in lines["overlay2"])
