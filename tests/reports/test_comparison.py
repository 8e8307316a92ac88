"""Ranking: pairing, ties, engine classes, cells that count."""

import copy

import pytest
import synthetic_result
from conftest import ALL, stored
from reports import comparison, facts, result_file, use_cases

TWO = ("native", "overlay2", "btrfs")


def compared(tmp_path, document):
    return comparison.Comparison(result_file.load(stored(tmp_path / "r.json", document)))


def test_shared_drift_between_blocks_cancels(tmp_path):
    document = synthetic_result.make(drivers=TWO, noise=0.0, workloads=("layer_build.pull",))
    for entry in document["benchmarks"]:
        entry["real_time"] *= 3 ** entry["sbench"]["block"]
    ranking = compared(tmp_path, document).by_group["kernel"]["layer_build.pull"]
    slower = ranking.standings["btrfs"]
    assert ranking.best == "overlay2" and slower.verdict == "slower"
    assert slower.to_best.value == pytest.approx(1.3 / 1.05) and slower.to_best.half_width < 1e-9


def test_equal_drivers_tie_and_different_ones_do_not(tmp_path):
    document = synthetic_result.make(drivers=("native", "overlay2", "overlay2.backing-xfs", "btrfs"), workloads=("layer_build.pull",))
    ranking = compared(tmp_path, document).by_group["kernel"]["layer_build.pull"]
    assert set(ranking.winners) == {"overlay2", "overlay2.backing-xfs"}
    assert ranking.standings["btrfs"].verdict == "slower"


def test_engine_classes_are_never_ranked_together(everything):
    c = comparison.Comparison(result_file.load(everything))
    assert set(c.by_group) == {"kernel", "userspace"}
    for engine, rankings in c.by_group.items():
        for ranking in rankings.values():
            assert {c.run.drivers[d].engine for d in ranking.standings} == {engine}


def test_control_and_null_are_not_ranked(everything):
    run = result_file.load(everything)
    assert not {"native", "null"} & set(run.ranked)


def test_driver_that_failed_the_semantic_check_is_not_ranked(tmp_path):
    document = synthetic_result.make(drivers=TWO)
    document["sbench"]["drivers"][2] |= {"semantic_check": "failed", "differences": ["a/b: mode differs"]}
    c = compared(tmp_path, document)
    assert c.run.ranked == ["overlay2"]


def test_driver_with_declared_deviations_is_ranked_and_the_caveat_stands_at_its_label(tmp_path):
    document = synthetic_result.make(drivers=TWO)
    document["sbench"]["drivers"][2]["deviations"] = ["a lower directory shows another time"]
    c = compared(tmp_path, document)
    assert "btrfs" in c.run.ranked
    assert (c.run.label("btrfs"), c.run.label("overlay2")) == ("btrfs†", "overlay2")
    assert [w.what for w in facts.warnings(c) if "another time" in w.what]


def test_what_disturbed_the_run_is_a_badge(tmp_path):
    document = synthetic_result.make(drivers=TWO)
    document["sbench"]["environment"]["during"] = {"steal_percent": 7.25, "throttles": 0}
    badges = {badge.name: badge for badge in facts.health(compared(tmp_path, document))}
    steal = badges["processor time taken by the host's others"]
    assert (steal.words, steal.good) == ("7.2 %", False)
    assert badges["slowed down by heat"].good


def test_geometric_mean_takes_only_cells_that_all_finished(tmp_path):
    document = synthetic_result.make(drivers=TWO, workloads=("copy_up.triggers",))
    document["benchmarks"] = [e for e in document["benchmarks"]
                              if not ("/btrfs/" in e["name"] and "op:chown" in e["name"])]
    ranking = compared(tmp_path, document).by_group["kernel"]["copy_up.triggers"]
    assert len(ranking.common) == len(ranking.cases) - 2
    assert not any(case.param("op") == "chown" for case in ranking.common)


def test_driver_with_less_than_half_of_the_cells_is_left_out_and_said(tmp_path):
    document = synthetic_result.make(drivers=TWO, workloads=("copy_up.triggers",))
    document["benchmarks"] = [e for e in document["benchmarks"] if "/btrfs/" not in e["name"] or "op:chown" in e["name"]]
    ranking = compared(tmp_path, document).by_group["kernel"]["copy_up.triggers"]
    assert ranking.standings["btrfs"].verdict == "none"
    assert ranking.standings["btrfs"].reason == "2 of 22 cases only"
    assert len(ranking.common) == 22


def test_sample_that_refused_the_depth_has_no_time(tmp_path):
    document = synthetic_result.make(drivers=TWO, workloads=("layer_build.depth",))
    for entry in document["benchmarks"]:
        if entry["sbench"]["driver"] == "overlay2":
            entry["sbench"]["flags"] = ["depth_refused"]
    ranking = compared(tmp_path, document).by_case["kernel"]["layer_build.depth/layers:120"]
    assert ranking.best == "btrfs" and ranking.standings["btrfs"].verdict == "only"
    assert ranking.standings["overlay2"].reason == "refused the depth asked for"


def test_failure_is_the_reason_of_a_missing_number(tmp_path):
    document = synthetic_result.make(drivers=TWO, workloads=("layer_build.pull",))
    document["benchmarks"] = [e for e in document["benchmarks"] if e["sbench"]["driver"] != "btrfs"]
    document["sbench"]["failures"] = [{"cell": "layer_build.pull/btrfs/image:full", "block": 0, "phase": "run", "errno": 28,
                                       "detail": "No space left on device"}]
    ranking = compared(tmp_path, document).by_group["kernel"]["layer_build.pull"]
    assert ranking.standings["btrfs"].reason == "failed: No space left on device"


def test_nobody_beats_the_best_of_a_noisy_run(tmp_path):
    drivers = tuple(d for d in ALL if d not in ("aufs", "zfs"))
    c = compared(tmp_path, synthetic_result.make(drivers=drivers, blocks=5, noise=0.1))
    below = [(k, s.driver, s.to_best.value) for k, r in c.by_group["kernel"].items() for s in r.standings.values()
             if s.to_best.value < 0.99]
    assert below == []


def test_unfinished_block_pairs_what_it_has(tmp_path):
    document = synthetic_result.make(drivers=TWO, blocks=6, workloads=("layer_build.pull",))
    document["benchmarks"] = [e for e in document["benchmarks"]
                              if not (e["sbench"]["block"] == 5 and e["sbench"]["driver"] == "btrfs")]
    standing = compared(tmp_path, document).by_group["kernel"]["layer_build.pull"].standings["btrfs"]
    assert (standing.to_best.n, standing.to_best.kind) == (5, "range")


def test_result_without_control_still_ranks(tmp_path):
    document = synthetic_result.make(drivers=TWO, workloads=("layer_build.pull",))
    document["benchmarks"] = [e for e in document["benchmarks"] if e["sbench"]["driver"] != "native"]
    ranking = compared(tmp_path, document).by_group["kernel"]["layer_build.pull"]
    assert ranking.best == "overlay2" and ranking.control is None
    assert ranking.standings["btrfs"].to_control is None


def test_each_workload_weighs_what_its_line_says(nine, tmp_path):
    c = comparison.Comparison(result_file.load(nine))
    (tmp_path / "mine.ini").write_text("[mine]\ntitle = Mine\ncases =\n  1 layer_build.*\n  3 copy_up.first_write size>=16M depth=8\n")
    (mine,) = use_cases.load(tmp_path / "mine.ini")
    weights = mine.weights(c.cases)
    per_workload = {}
    for case, weight in weights.items():
        per_workload[case.workload] = per_workload.get(case.workload, 0) + weight
    assert per_workload == pytest.approx({"layer_build.build": 1, "layer_build.depth": 1, "layer_build.diff": 1, "layer_build.pull": 1,
                                          "layer_build.remove": 1, "copy_up.first_write": 3})
    assert {(case.param("size"), case.param("depth")) for case in weights if case.workload == "copy_up.first_write"} == {("16m", "8"), ("64m", "8")}
    shares = use_cases.verdicts(c, (mine,))[0].shares
    assert shares["copy_up.first_write"] == pytest.approx(3 / 8) and sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("content, words", [
    ("", "no use case"), ("[a]\ntitle = A\n", "needs a title and cases"), ("[a]\ntitle = A\ncases = 0 layer_build.pull", "above 0"),
    ("[a]\ntitle = A\ncases = 1 layer_build.pull size~3", "PARAM=VALUE"), ("[a]\ntitle = A\ncolour = red\ncases = 1 x", "unknown key colour"),
    ("nonsense", "no use-case file"), ("[a]\ntitle = A\nper_container = perhaps\ncases = 1 x", "no use-case file"),
])
def test_broken_use_case_files_are_usage_errors(tmp_path, content, words):
    from reports.errors import UsageError

    (tmp_path / "u.ini").write_text(content)
    with pytest.raises(UsageError, match=words):
        use_cases.load(tmp_path / "u.ini")


def test_use_cases_say_what_the_synthetic_drivers_are_built_to_show(nine):
    c = comparison.Comparison(result_file.load(nine))
    by_key = {v.use_case.key: v for v in use_cases.verdicts(c)}
    assert "overlay2.backing-xfs" in by_key["database"].ranking.winners
    assert by_key["database"].ranking.standings["overlay2"].to_best.value > 10
    assert "overlay2" in by_key["start-storm"].ranking.winners
    assert any("page cache per container" in line for line in use_cases.price(c, by_key["start-storm"], "overlay2"))


def test_driver_that_copies_at_prepare_is_set_aside_where_prepare_is_not_timed(nine):
    c = comparison.Comparison(result_file.load(nine))
    by_key = {v.use_case.key: v for v in use_cases.verdicts(c)}
    small = by_key["small-files"]
    assert small.ranking.best == "btrfs" and "vfs" not in small.ranking.standings
    (slug, reason, ratio), = small.set_aside
    assert slug == "vfs" and "copies the whole image" in reason and ratio.value < 0.95
    assert by_key["ci-builder"].set_aside == () and "vfs" in by_key["ci-builder"].ranking.standings


def test_driver_that_drops_syncs_is_no_candidate_for_synced_writes(tmp_path):
    document = synthetic_result.make(drivers=TWO)
    document["sbench"]["drivers"][1]["options"] = {"volatile": "on"}
    big = next(v for v in use_cases.verdicts(compared(tmp_path, document)) if v.use_case.key == "database")
    assert big.ranking.best == "btrfs" and "drops every sync" in big.set_aside[0][1]


def test_use_case_without_cases_is_said_aloud(tmp_path):
    c = compared(tmp_path, synthetic_result.make(drivers=TWO, workloads=("layer_build.pull",)))
    empty = next(v for v in use_cases.verdicts(c) if v.use_case.key == "start-storm")
    assert empty.ranking.best is None and use_cases.confidence(empty) == "no case of this run speaks for it"


def test_order_of_samples_in_the_file_does_not_matter(tmp_path):
    document = synthetic_result.make(drivers=TWO, blocks=6)
    turned = copy.deepcopy(document)
    turned["benchmarks"].reverse()
    first, second = compared(tmp_path, document), compared(tmp_path, turned)
    for key, ranking in first.by_case["kernel"].items():
        assert ranking == second.by_case["kernel"][key]
