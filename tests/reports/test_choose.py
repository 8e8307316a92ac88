"""choose: ranks with reasons, ties, silence where nothing was measured, and the table of distributions."""

import dataclasses
import json
import re

import pytest
import synthetic_result
from conftest import run_reports, stored

from reports import choose, distributions, use_cases
from reports.comparison import Comparison
from reports.result_file import load


@pytest.fixture(scope="module")
def both_classes(tmp_path_factory):
    drivers = ("native", "overlay2", "overlay2.backing-btrfs", "btrfs", "vfs", "aufs", "zfs")
    return stored(tmp_path_factory.mktemp("choose") / "result.json", synthetic_result.make(drivers=drivers, blocks=6, workloads=("layer_build", "cache_reuse.containers")))


def chosen(path, distribution=None):
    return choose.choose(Comparison(load(path)), use_cases.load(), distributions.find(distribution) if distribution else None)


def test_engine_classes_are_never_on_one_list(both_classes):
    lists = chosen(both_classes).lists
    for each in lists:
        drivers = {place.driver for place in each.places}
        assert not (drivers & {"aufs", "zfs"} and drivers & {"overlay2", "btrfs", "vfs"})
    assert {each.engine for each in lists} == {"kernel", "userspace"}


def test_every_place_has_reasons_and_ties_share_a_rank(both_classes, tmp_path):
    for each in chosen(both_classes).lists:
        assert [p.rank for p in each.places] == sorted(p.rank for p in each.places)
        assert all(p.reasons and p.reasons[0] for p in each.places)
    noisy = stored(tmp_path / "noisy.json", synthetic_result.make(drivers=("native", "overlay2", "overlay2.metacopy-on", "btrfs"), blocks=6, noise=0.5, workloads=("layer_build",)))
    tied = [p for each in chosen(noisy).lists for p in each.places if p.tied]
    assert tied and all(p.rank == 1 and "cannot be told from the fastest" in p.reasons[0] for p in tied)


def test_what_a_distribution_does_not_ship_is_set_aside_with_the_reason(both_classes):
    choice = chosen(both_classes, "rhel")
    kernel = [each for each in choice.lists if each.engine == "kernel" and each.places]
    assert kernel
    for each in kernel:
        assert {p.driver for p in each.places} <= {"overlay2", "vfs"}
        assert sum("does not ship btrfs" in words for words in each.aside) == 2, "btrfs itself, and overlay2 on btrfs"
    assert any("nothing was measured on RHEL 10" in words for words in choice.cautions)


def test_what_nobody_knows_and_what_comes_from_elsewhere_stands_among_the_reasons(both_classes):
    """By facilities, not by a real row, which may become known."""
    row = dataclasses.replace(distributions.find("rhel"), facilities=dict.fromkeys(distributions.FACILITIES, "unknown") | {"btrfs": "out-of-tree"})
    choice = choose.choose(Comparison(load(both_classes)), use_cases.load(), row)
    reasons = {p.driver: p.reasons for each in choice.lists if each.engine == "kernel" for p in each.places}
    assert "whether overlayfs is shipped is unknown" in reasons["overlay2"]
    assert "btrfs is an out-of-tree module there" in reasons["btrfs"]


def test_nothing_measured_is_said_aloud(tmp_path):
    only = stored(tmp_path / "one.json", synthetic_result.make(drivers=("native", "overlay2", "btrfs"), blocks=6, workloads=("layer_build",)))
    silent = [each for each in chosen(only).lists if not each.places]
    assert silent and all(each.silence.startswith("no data") for each in silent)
    alone = run_reports("choose", SBENCH_HISTORY=str(tmp_path / "absent.sqlite"))
    assert alone.returncode == 5 and "no data" in alone.stderr
    unused = stored(tmp_path / "unused.json", synthetic_result.make(drivers=("native", "overlay2"), blocks=6, workloads=("copy_up.triggers",)))
    assert run_reports("choose", unused).returncode == 5


def test_the_command_in_all_forms(both_classes, tmp_path):
    words = run_reports("choose", both_classes, "--use", "ci-builder", "--distro", "talos")
    assert words.returncode == 0 and "for Talos Linux 1.14" in words.stdout and "CI builder [kernel]" in words.stdout and "Start storm" not in words.stdout
    assert "### CI builder" in run_reports("choose", both_classes, "--format", "markdown").stdout
    document = json.loads(run_reports("choose", both_classes, "--format", "json", "--distro", "fedora").stdout)
    assert document["distribution"]["sources"] and document["uses"][0]["places"][0]["rank"] == 1
    assert run_reports("choose", both_classes, "--distro", "bsd").returncode == 2
    assert run_reports("choose", both_classes, "--use", "games").returncode == 2
    name = str(tmp_path / "history.sqlite")
    run_reports("history", "import", both_classes, "--history", name)
    from_history = json.loads(run_reports("choose", "--history", name, "--format", "json").stdout)
    first = [[p["driver"] for p in each["places"]] for each in from_history["uses"]]
    assert first == [[p["driver"] for p in each["places"]] for each in json.loads(run_reports("choose", both_classes, "--format", "json").stdout)["uses"]]


def test_every_row_of_the_table_names_its_sources_and_dates():
    known = distributions.load()
    for wanted in ("debian", "ubuntu", "fedora", "rhel", "alma", "rocky", "sles", "opensuse", "amazon", "alpine", "arch", "flatcar", "talos", "nixos"):
        assert distributions.find(wanted)
    for each in known:
        for source in each.sources:
            assert re.match(r"(\d{4}-\d{2}-\d{2}|unknown) (https://\S+ \S|apt-cache|no page)", source), source
        facts = [each.kernel, each.root_fs, each.engine_default, *each.facilities.values()]
        assert any(s.split()[1].startswith(("https", "apt")) for s in each.sources) or all(f.startswith("unknown") for f in facts)
    aliases = [a for d in known for a in (d.key, *d.aliases)]
    assert len(aliases) == len(set(aliases))
    assert run_reports("choose", "--distros", "--format", "markdown").stdout.count("https://") > 15
