"""Broken, foreign and newer files: one clear line and the right exit code. And the schema."""

import copy
import json

import pytest
import synthetic_result
from conftest import run_reports, stored

COMMANDS = ("table", "markdown", "json", "report", "compare", "validate")


def refused(path, *words, code=1, command="table"):
    done = run_reports(command, path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("sbench: "), done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_file(tmp_path, command):
    refused(tmp_path / "none.json", "none.json", "No such file", command=command)


def test_folder_without_a_result(tmp_path):
    refused(tmp_path, "is a folder", "result.json")


def test_folder_of_a_run_stands_for_its_result(tmp_path, real):
    (tmp_path / "result.json").write_bytes(real.read_bytes())
    assert run_reports("table", tmp_path).stdout == run_reports("table", real).stdout


def test_empty_file(tmp_path):
    (tmp_path / "r.json").write_text("\n")
    refused(tmp_path / "r.json", "is empty")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, real, share):
    content = real.read_bytes()
    (tmp_path / "r.json").write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / "r.json", "r.json")


def test_truncated_file_names_the_way_out(tmp_path):
    (tmp_path / "r.json").write_text('{"context": {"date": "2026')
    refused(tmp_path / "r.json", "cut short", "--resume")


def test_binary_file(tmp_path):
    (tmp_path / "r.json").write_bytes(bytes(range(256)) * 8)
    refused(tmp_path / "r.json", "not UTF-8")


@pytest.mark.parametrize("document", [[], 3, "text", None, {}, {"sbench": 3}, {"sbench": {"schema": "other"}}])
def test_json_that_is_no_result(tmp_path, document):
    refused(stored(tmp_path / "r.json", document), "result.json of sbench")


def test_plain_google_benchmark_result_is_told_apart(tmp_path):
    refused(stored(tmp_path / "r.json", {"context": {}, "benchmarks": []}), "Google Benchmark")


def test_newer_schema(tmp_path):
    document = synthetic_result.make(blocks=1, workloads=("layer_build.pull",))
    document["sbench"]["schema_version"] = "2.0"
    document["sbench"]["blocks_planned"] = {"new": "shape"}
    refused(stored(tmp_path / "r.json", document), "schema version 2.0", "newer sbench")


def test_minor_schema_version_is_read(tmp_path):
    document = synthetic_result.make(blocks=1, workloads=("layer_build.pull",))
    document["sbench"]["schema_version"] = "1.7"
    assert run_reports("validate", stored(tmp_path / "r.json", document)).returncode == 0


def test_nan_is_refused(tmp_path):
    (tmp_path / "r.json").write_text('{"sbench": {"schema": "sbench.result"}, "benchmarks": [NaN], "context": {}}')
    refused(tmp_path / "r.json", "NaN")


def test_deep_nesting_is_refused(tmp_path):
    (tmp_path / "r.json").write_text("[" * 100_000)
    refused(tmp_path / "r.json", "r.json")


def test_no_samples_is_nothing_to_report(tmp_path):
    document = synthetic_result.make(blocks=1)
    document["benchmarks"] = []
    path = stored(tmp_path / "r.json", document)
    refused(path, "no finished sample", code=5)
    assert run_reports("validate", path).returncode == 0


def test_sample_of_an_unknown_driver(tmp_path):
    document = synthetic_result.make(blocks=1)
    document["sbench"]["drivers"] = document["sbench"]["drivers"][:2]
    refused(stored(tmp_path / "r.json", document), "driver list lacks")


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    document = synthetic_result.make(blocks=1)
    document["sbench"]["schema_version"] = "9\x1b[31m.0"
    done = run_reports("table", stored(tmp_path / "r.json", document))
    assert done.returncode == 1 and "\x1b" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("table",), ("table", "x", "--color", "sometimes"), ("table", "x", "--width", "wide")])
def test_usage_errors_exit_2(arguments):
    assert run_reports(*arguments).returncode == 2


@pytest.mark.parametrize("fixture", ["real", "nine", "everything"])
def test_stored_results_are_valid(request, fixture):
    done = run_reports("validate", request.getfixturevalue(fixture))
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid" in done.stdout


def _paths(value, path=()):
    """All paths to object members below `value`, lists by their first element."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*path, key)
            yield from _paths(each, (*path, key))
    elif isinstance(value, list) and value:
        yield from _paths(value[0], (*path, 0))


def test_any_single_broken_member_is_an_error_or_harmless_never_a_traceback(tmp_path):
    from reports import errors, markdown, run_set, table, use_cases
    from reports.report_content import Report

    chosen = use_cases.load()
    document = synthetic_result.make(drivers=("native", "overlay2", "btrfs"), blocks=2,
                                     workloads=("layer_build.pull", "cache_reuse.containers"))
    refusals = 0
    for path in list(_paths(document)):
        for wrong in (None, "x", [], {}):
            broken = copy.deepcopy(document)
            place = broken
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = wrong
            try:
                report = Report(run_set.load([stored(tmp_path / "r.json", broken)]), chosen)
                table.render(report.comparison)
                markdown.render_report(report)
            except errors.ReportError as error:
                refusals += 1
                assert "\n" not in str(error)
    assert refusals > 200


def test_schema_is_itself_valid():
    import jsonschema
    from reports import result_file

    jsonschema.Draft7Validator.check_schema(json.loads(result_file.SCHEMA_PATH.read_text()))


def test_two_samples_of_one_case_in_one_block_are_refused(tmp_path):
    document = synthetic_result.make(blocks=1, workloads=("layer_build.build",))
    document["benchmarks"].append(document["benchmarks"][0])
    done = run_reports("validate", stored(tmp_path / "twice.json", document))
    assert done.returncode == 1 and "has two samples of" in done.stderr and "in block 0" in done.stderr
