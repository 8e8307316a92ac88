"""The selftest: how it records sittings, and what it says of recorded ones."""

import json

import numpy as np
import pytest
import synthetic_nights as made
from conftest import run_reports

from reports import text
from reports.gate import record, selftest
from reports.history import exchange


def rng(seed=99):
    return np.random.default_rng(seed)


def test_selftest_measures_false_alarms_and_power():
    test = selftest.run(made.nights(42), synthetic=60, repetitions=3)
    assert test.alarms == [] and test.gated == 22 and test.synthetic_gated == 60
    assert all(p.gated for p in test.power)
    assert np.mean([p.found[(0.20, 3)] for p in test.power]) > 0.9
    assert np.mean([p.found[(0.20, 1)] for p in test.power]) >= np.mean([p.found[(0.05, 1)] for p in test.power])


def test_bounds_are_those_of_clopper_and_pearson():
    assert selftest.upper_bound(0, 60) == pytest.approx(0.049, abs=0.001)  # METHOD d.6
    assert selftest.upper_bound(0, 300) == pytest.approx(0.010, abs=0.001)
    assert selftest.upper_bound(3, 3) == 1.0


class FakeMachine:
    """Stands for `sbench run`: each sitting takes `seconds` of a clock that only it moves."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds, self.kept, self.count = 0.0, seconds, [], 0

    def sit(self, inject: str):
        self.now += self.seconds
        self.count += 1
        night = made.night(self.count, rng())
        night.injected = inject
        return night

    def recorder(self, budget_s: float, nights=()):
        return record.Recorder(list(nights), self.sit, lambda nights: self.kept.append(len(nights)), budget_s, lambda: self.now, lambda nights: (None, ""))


def test_recording_leaves_room_for_the_slowed_sittings_and_is_kept_after_each():
    machine = FakeMachine(10)
    recorder = machine.recorder(300)
    recorder.record(60, True)
    injected = [n.injected for n in recorder.nights if n.injected]
    assert [injected.count(what) for what, _ in record.INJECTIONS] == [times for _, times in record.INJECTIONS]
    assert machine.now <= 300 and len(recorder.nights) == 30
    assert machine.kept == list(range(1, 31))


def test_recording_goes_on_from_what_is_there():
    machine = FakeMachine(1)
    first = machine.recorder(1000)
    first.record(4, False)
    second = machine.recorder(1000, first.nights)
    second.record(6, True)
    assert sum(not n.injected for n in second.nights) == 6 and second.taken == 2 + sum(times for _, times in record.INJECTIONS)


def test_a_sitting_is_confirmed_like_a_night_and_its_rerun_is_kept_with_it():
    machine = FakeMachine(1)
    asked = []

    def again(nights):
        asked.append([n.injected for n in nights])
        return made.rerun(nights[-1], rng()), ""

    recorder = machine.recorder(1000)
    recorder.again = again
    recorder.record(2, True)
    assert all(len(n.confirmations) == 1 for n in recorder.nights)
    assert asked[2] == ["", "", record.INJECTIONS[0][0]] and asked[-1][:2] == ["", ""] and set(asked[-1][2:]) == {record.INJECTIONS[-1][0]}


def test_an_injection_that_no_night_of_its_own_flags_makes_a_machine_unfit():
    test = selftest.run(made.nights(30), synthetic=20, repetitions=2)
    test.injected = [("d1", "build/overlay2=slow:10%", [], "ok"), ("d2", "build/overlay2=slow:10%", ["layer_build.build/overlay2/image:small"], "regression"),
                     ("d3", "build/btrfs=slow:20%", ["layer_build.build/overlay2/image:small"], "regression")]
    assert test.missed == ["build/btrfs=slow:20%"] and not test.fit


@pytest.mark.parametrize("words, seconds", [("90s", 90), ("12m", 720), ("1h30m", 5400), ("45", 45), ("", None), ("soon", None), ("5m2h", None)])
def test_durations_read_as_sbench_run_takes_them(words, seconds):
    assert text.parse_duration(words) == seconds
