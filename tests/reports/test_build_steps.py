"""The tables of builds from Dockerfiles: hits, misses, phases and content by step."""

import synthetic_result
from conftest import stored
from reports import result_file
from reports.comparison import Comparison
from reports.figures import build_steps


def built(tmp_path, hits):
    """A result whose one build case has two steps; `hits`: whether the first was found, by block."""
    body = synthetic_result.make(drivers=("native", "overlay2"), blocks=len(hits), workloads=("layer_build.build",))
    body["sbench"]["workloads"] = {build_steps.WORKLOAD: body["sbench"]["workloads"]["layer_build.build"]}
    for benchmark in body["benchmarks"]:
        own = benchmark["sbench"]
        for holder, key in ((benchmark, "name"), (benchmark, "run_name"), (own, "workload")):
            holder[key] = holder[key].replace("layer_build.build", build_steps.WORKLOAD)
        own["phases"] = {f"web.Dockerfile:{line}.copy.{part}": {"seconds": seconds, "count": 1, "timed": True}
                         for line, part, seconds in ((10, "lookup", 0.002), (9, "lookup", 0.001), (10, "write", 0.5))}
        own["metrics"] |= {"web.Dockerfile:9.copy.hit": float(hits[own["block"]]), "web.Dockerfile:9.copy.bytes": 2048,
                           "web.Dockerfile:10.copy.hit": 0.0, "web.Dockerfile:10.copy.bytes": 10,
                           "layers_hit": 1, "layers_made": 1, "bytes_shared": 2048, "bytes_made": 10, "saved_s": 1.5}
    for series in body["sbench"]["series"]:
        series["name"] = series["name"].replace("layer_build.build", build_steps.WORKLOAD)
    return Comparison(result_file.load(stored(tmp_path / "result.json", body)))


def test_each_step_says_hit_or_miss_in_the_order_of_lines(tmp_path):
    shared, steps = build_steps.build(built(tmp_path, (True, True)))
    own = [row[2:] for row in steps.rows if row[1] == "overlay2"]
    assert own == [("web.Dockerfile:9", "COPY", "hit", "1.00 ms", "–", "–", "–", "–", "–", "–", "2 KiB"),
                   ("web.Dockerfile:10", "COPY", "miss", "2.00 ms", "–", "–", "500 ms", "–", "–", "–", "10 B")]
    assert {row[1:] for row in shared.rows} == {(driver, "1", "1", "2 KiB", "10 B", "1.50 s") for driver in ("native", "overlay2")}


def test_blocks_that_disagree_are_neither_hit_nor_miss(tmp_path):
    steps = build_steps.build(built(tmp_path, (True, False)))[1]
    assert [row[4] for row in steps.rows if row[2] == "web.Dockerfile:9"] == ["differs", "differs"]


def test_a_run_without_such_builds_has_no_table(tmp_path):
    body = synthetic_result.make(drivers=("native",), blocks=1, workloads=("layer_build.build",))
    assert build_steps.build(Comparison(result_file.load(stored(tmp_path / "result.json", body)))) == []
