"""Table, Markdown, JSON, HTML: what they must show, and that they are reproducible."""

import copy
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_result
from conftest import ALL, ROOT, run_program, run_reports, stored

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
HOSTILE = '<script>alert(1)</script>"\'&|`$\\bad$\x1b[31m'


@pytest.mark.parametrize("fixture", ["real", "nine", "everything"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_fits_the_width(request, fixture, width):
    done = run_reports("table", request.getfixturevalue(fixture), "--width", width)
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= width


def test_table_says_blocks_seed_noise_floor_skips_and_no_inference(everything):
    words = " ".join(run_reports("table", everything).stdout.split())
    for expected in ("5 blocks: ranges only, no inference", "seed 7", "noise floor", "devicemapper: the kernel has no dm-thin target",
                     "load the module dm_thin_pool", "userspace engines", "* best = tie with best ~ unsteady"):
        assert expected in words
    assert "no inference" not in run_reports("table", synthetic_path(everything, blocks=9)).stdout


def synthetic_path(beside: Path, **arguments) -> Path:
    return stored(beside.parent / "other.json", synthetic_result.make(**arguments))


def test_table_names_every_driver(everything):
    heads = run_reports("table", everything).stdout
    for label in ("overlay2", "backing=", "metacopy=", "btrfs", "vfs", "aufs", "zfs"):
        assert label in heads


def test_table_shows_best_tie_and_ratio_in_one_row(nine):
    row = next(line for line in run_reports("table", nine, "--width", "100").stdout.splitlines() if line.startswith("layer_build.pull"))
    assert re.search(r"1\.0\d±\S+\*", row) and re.search(r"1\.0\d±\S+=", row) and re.search(r"1\.3\d±", row)


def test_table_by_case_has_a_row_for_each_case(nine):
    assert "copy_up.first_write/size:64k" in run_reports("table", nine, "--cases", "--width", "120").stdout


FUSE_COST = [{"operation": "create with 1 KiB", "in_process_us": [10, 11, 10, 12, 10, 10, 11], "mounted_us": [100, 105, 120, 115, 99, 101, 108]},
             {"operation": "read 1 MiB, pool-cached", "in_process_us": [200] * 7, "mounted_us": [610, 600, 590, 600, 640, 580, 600]}]


def test_what_fuse_costs_is_a_table_of_its_own_with_the_paired_ratio(tmp_path):
    document = synthetic_result.make()
    document["sbench"]["drivers"][-1]["fuse_cost"] = FUSE_COST
    path = stored(tmp_path / "result.json", document)
    wide = run_reports("table", path, "--width", "80").stdout
    row = next(line for line in wide.splitlines() if line.startswith("create with 1 KiB"))
    assert re.search(r"create with 1 KiB +10\.0 µs +105 µs +9\.90 \(9\.58 to 11\.0\)$", row), row
    assert "read 1 MiB, pool-cached  200 µs      600 µs   3.00 (2.9" in wide
    narrow = run_reports("table", path, "--width", "60").stdout
    assert "What FUSE itself costs" in narrow and max(len(line) for line in narrow.splitlines()) <= 60
    assert "| create with 1 KiB | 10.0 µs | 105 µs |" in run_reports("markdown", path).stdout
    assert run_reports("validate", path).returncode == 0
    assert "What FUSE itself costs" not in run_reports("table", stored(tmp_path / "without.json", synthetic_result.make())).stdout


def test_color_obeys_flag_and_environment(nine):
    assert "\x1b[" in run_reports("table", nine, "--color", "always").stdout
    assert "\x1b[" not in run_reports("table", nine, "--color", "never", FORCE_COLOR="1").stdout
    assert "\x1b[" not in run_reports("table", nine).stdout
    assert "\x1b[" in run_reports("table", nine, FORCE_COLOR="1").stdout
    assert "\x1b[" not in run_reports("table", nine, FORCE_COLOR="1", NO_COLOR="1").stdout
    painted = run_reports("table", nine, "--color", "always").stdout
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == run_reports("table", nine, "--color", "never").stdout


def test_json_summary_can_be_recomputed_from_the_samples(nine):
    summary = json.loads(run_reports("json", nine).stdout)
    samples = json.loads(nine.read_text())["benchmarks"]
    row = next(r for r in summary["summary"] if r["case"] == "layer_build.pull/image:full" and r["driver"] == "btrfs")
    times = sorted(e["real_time"] / 1e3 for e in samples if e["name"] == "layer_build.pull/btrfs/image:full")
    assert row["n"] == 9 and row["median"] == pytest.approx(times[4]) and row["ci95"] == pytest.approx([times[1], times[7]])
    assert row["verdict"] == "slower" and row["ratio_ci95"][0] < row["ratio_to_control"] < row["ratio_ci95"][1]
    assert row["mad"] == pytest.approx(sorted(abs(t - times[4]) for t in times)[4])


def test_json_summary_marks_ranges_below_six_blocks(everything):
    summary = json.loads(run_reports("json", everything).stdout)
    assert summary["inference"] is False
    assert all("ci95" not in row and "ratio_ci95" not in row for row in summary["summary"])
    assert {row["verdict"] for row in summary["summary"]} >= {"best", "tie", "slower", "control", "unranked"}


def test_compare_py_of_google_benchmark_reads_the_file(real, tmp_path):
    tool = Path("/usr/share/benchmark/compare.py")
    if not tool.exists():
        pytest.skip("compare.py is missing: install libbenchmark-tools")
    done = subprocess.run([sys.executable, str(tool), "--no-color", "filters", str(real), "overlay2", "btrfs"], capture_output=True,
                          text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "copy_up.first_write/[overlay2 vs. btrfs]/size:64k/touched:4k/depth:2/cache:cold" in done.stdout
    assert "OVERALL_GEOMEAN" in done.stdout


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.references, self.tags, self.headings, self.images = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "h2":
            self.headings.append(values.get("id"))
        for name in ("href", "xlink:href", "src"):
            if name in values:
                self.references.append(values[name])
        self.references += re.findall(r"url\(([^)]*)\)", values.get("style") or "") + re.findall(r"url\(([^)]*)\)", values.get("clip-path") or "")


@pytest.fixture(scope="module")
def page(everything, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    done = run_reports("report", everything, "-o", folder / "report.html", "--figures", folder / "figures")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder / 'report.html'}\n", "")
    parsed = _Page()
    parsed.feed((folder / "report.html").read_text())
    return folder, parsed


def test_page_refers_to_nothing_outside_itself(page):
    folder, parsed = page
    outside = [r for r in parsed.references if not r.startswith(("#", "data:image/png;base64,"))]
    assert parsed.references and outside == []
    assert all(r[1:] in parsed.ids for r in parsed.references if r.startswith("#"))
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//|@import", re.sub(r"<script.*?</script>", "", (folder / "report.html").read_text(), flags=re.S))


def test_page_has_a_policy_no_script_and_unique_ids(page):
    _, parsed = page
    policy = next(a["content"] for t, a in parsed.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert [a.get("type") for t, a in parsed.tags if t == "script"] == ["application/json"]
    assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]
    assert len(parsed.ids) == len(set(parsed.ids))


def test_page_is_in_the_order_a_reader_wants(page):
    _, parsed = page
    assert parsed.headings == [
        "verdict", "heat-map-kernel-h", "heat-map-userspace-h", "forest-kernel-h", "forest-userspace-h", "first-write-latency-h", "cost-h",
        "write-amplification-h", "copy-triggers-h", "space-per-container-h", "page-cache-h", "start-time-h", "scaling-workers-h",
        "build-phases-h", "stability-h", "harness-overhead-h", "published-dagger-11556-h", "machine-quality-h", "cases", "skipped", "where", "workloads", "method"]


def test_every_picture_has_a_title_a_description_and_a_table(page):
    _, parsed = page
    pictures = [a for t, a in parsed.tags if t == "svg"]
    assert len(pictures) == 15
    for picture in pictures:
        assert picture["role"] == "img"
        assert all(name in parsed.ids for name in picture["aria-labelledby"].split())
    assert sum(t == "details" for t, _ in parsed.tags) >= len(pictures)


def test_figures_are_written_by_name(page):
    folder, _ = page
    names = {path.name for path in (folder / "figures").iterdir()}
    for slug in ("heat-map-kernel", "heat-map-userspace", "first-write-latency", "write-amplification", "space-per-container",
                 "start-time", "page-cache", "build-phases", "copy-triggers"):
        assert {f"{slug}.svg", f"{slug}.png"} <= names
    assert all((folder / "figures" / name).stat().st_size > 2000 for name in names)


def test_page_stays_within_its_size_budget(page):
    folder, _ = page
    assert (folder / "report.html").stat().st_size < 2_000_000


def test_small_result_is_embedded_whole(real, tmp_path):
    run_reports("report", real, "-o", tmp_path / "r.html")
    data = re.search(r'<script type="application/json" id="sbench-data">(.*?)</script>', (tmp_path / "r.html").read_text(), re.S)[1]
    assert json.loads(data) == json.loads(real.read_text())


def _digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_input_same_bytes(real, tmp_path):
    for name, hash_seed in (("a", "1"), ("b", "2")):
        done = run_program("report", real, "-o", tmp_path / name / "report.html", "--figures", tmp_path / name / "figures", PYTHONHASHSEED=hash_seed)
        assert done.returncode == 0, done.stderr
        for form in ("table", "markdown", "json", "csv"):
            (tmp_path / name / form).write_text(run_program("report", real, "--format", form, PYTHONHASHSEED=hash_seed).stdout)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    assert len(_digest(tmp_path / "a")) > 15


def test_golden_table_of_the_real_run(real):
    golden = Path(__file__).parent / "data" / "real_smoke_3_blocks.table.txt"
    assert run_reports("table", real).stdout == golden.read_text()


def test_without_matplotlib_the_page_has_tables_and_a_notice(real, tmp_path):
    (tmp_path / "hide" / "matplotlib").mkdir(parents=True)
    (tmp_path / "hide" / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden by the test')\n")
    done = run_program("report", real, "-o", tmp_path / "r.html", "--figures", tmp_path / "f", PYTHONPATH=f"{tmp_path / 'hide'}:{ROOT}")
    assert done.returncode == 0 and "python3-matplotlib" in done.stderr
    page = (tmp_path / "r.html").read_text()
    assert "<svg" not in page and "First write to a file of the image" in page and "</table>" in page


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    document = synthetic_result.make(drivers=("native", "overlay2", "btrfs"), blocks=2, workloads=("layer_build.pull", "copy_up.first_write"))
    document["context"]["host_name"] = HOSTILE
    body = document["sbench"]
    body["command"] = body["device"]["path"] = HOSTILE
    body["environment"]["version"]["distribution"] = body["environment"]["state"]["governor"] = HOSTILE
    body["drivers"][1]["label"] = HOSTILE
    body["drivers"][1]["status"] = [[HOSTILE, HOSTILE]]
    body["skips"] = [{"driver": HOSTILE, "code": HOSTILE, "detail": HOSTILE, "remedy": HOSTILE}]
    body["failures"] = [{"cell": HOSTILE, "block": 0, "phase": HOSTILE, "detail": HOSTILE}]
    body["workloads"]["layer_build.pull"]["summary"] = HOSTILE
    return stored(tmp_path_factory.mktemp("hostile") / "r.json", document)


def test_system_strings_are_escaped_in_html(hostile, tmp_path):
    done = run_reports("report", hostile, "-o", tmp_path / "r.html", "--figures", tmp_path / "f")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    parsed = _Page()
    parsed.feed(page)
    assert sum(t == "script" for t, _ in parsed.tags) == 1


def test_system_strings_are_escaped_in_markdown(hostile):
    for command in (("markdown", hostile), ("report", hostile, "--format", "markdown")):
        output = run_reports(*command).stdout
        assert "<script>" not in output and "\x1b" not in output
        for line in output.splitlines():
            if line.startswith("|") and "alert" in line:
                assert "\\|" in line


def test_system_strings_cannot_drive_the_terminal(hostile):
    assert "\x1b" not in run_reports("table", hostile).stdout


def test_markdown_report_has_the_pages_content(everything):
    output = run_reports("report", everything, "--format", "markdown").stdout
    for heading in ("## Verdict", "<summary>First write to a file of the image", "<summary>Bytes written to the device per byte changed",
                    "<summary>Space and inodes per container", "<summary>Start time against the number of containers", "### Not run",
                    "<summary>Method", "<summary>Glossary"):
        assert heading in output
    assert output.index("## Verdict") < output.index("### Not run") < output.index("<details>")
    assert len(output.encode()) < 1024 * 1024


def test_markdown_report_leaves_parts_out_rather_than_pass_its_cap(everything):
    from reports import markdown, run_set, use_cases
    from reports.report_content import Report

    report = Report(run_set.load([everything]), use_cases.load())
    whole, short = markdown.render_report(report), markdown.render_report(report, bytes_max=30_000)
    assert len(short.encode()) <= 30_000 < len(whole.encode())
    assert "Left out for its size" in short and "## Verdict" in short and "Every case" in short.splitlines()[-1]


def test_cut_short_run_is_reported_and_said(tmp_path):
    document = synthetic_result.make(blocks=4)
    document["sbench"] |= {"blocks_planned": 9, "complete": False}
    output = run_reports("table", stored(tmp_path / "r.json", document)).stdout
    assert "4 of 9 blocks" in output and "--resume" in output


@pytest.mark.parametrize("drop", ["native", "null"])
def test_report_of_a_run_that_lacks_control_or_null_samples(tmp_path, drop):
    document = synthetic_result.make(blocks=2)
    document["benchmarks"] = [e for e in document["benchmarks"] if e["sbench"]["driver"] != drop]
    done = run_reports("report", stored(tmp_path / "r.json", document), "-o", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workload", sorted(synthetic_result.WORKLOADS))
def test_report_of_a_single_workload(tmp_path, workload):
    document = synthetic_result.make(blocks=1, workloads=(workload,), drivers=ALL, peers=workload.startswith("peers."))
    path = stored(tmp_path / "r.json", document)
    for command in (("table", path), ("report", path, "--format", "markdown"), ("json", path), ("report", path, "-o", tmp_path / "r.html")):
        done = run_reports(*command)
        assert done.returncode == 0, done.stderr


def test_output_that_cannot_be_written_is_one_line(real):
    done = run_reports("report", real, "-o", "/proc/none/report.html")
    assert done.returncode == 1 and done.stderr.startswith("sbench: cannot write") and done.stderr.count("\n") == 1


def test_unknown_members_are_ignored(real, tmp_path):
    document = json.loads(real.read_text())
    more = copy.deepcopy(document)
    more["sbench"]["future"] = {"x": 1}
    more["benchmarks"][0]["sbench"]["future"] = [1]
    assert run_reports("table", stored(tmp_path / "r.json", more)).stdout == run_reports("table", real).stdout
