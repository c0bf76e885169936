"""The table of load profiles, and the schedules that it makes."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from perf.load.loads import Target
from perf.load.profiles import chosen, load_profiles
from perf.load.schedule import Schedule

NAMES = {"steady", "saturate", "mixed", "overload", "interviews", "soak"}


def test_the_table_has_every_profile_with_loop_seed_and_warm_up():
    profiles = load_profiles()
    assert set(profiles) == NAMES
    loads = [load for profile in profiles.values() for phase in profile.phases for load in phase.loads]
    assert all(load.seed for load in loads)
    assert all(profile.warm_up_s > 0 for profile in profiles.values())
    assert {load.loop for load in loads} == {"open", "closed"}


def test_soak_runs_only_by_name_and_overload_brings_what_finds_the_knee():
    profiles = load_profiles()
    assert {profile.name for profile in chosen(profiles, None)} == NAMES - {"soak"}
    assert [profile.name for profile in chosen(profiles, "overload")] == ["saturate", "overload"]
    with pytest.raises(ValueError, match="choose one of"):
        chosen(profiles, "steadfast")


def test_rates_of_the_knee_become_rates():
    loads = load_profiles()["overload"].at_knee(100.0).phases[0].loads
    assert {load.name: load.rate for load in loads} == {"interactive": 20.0, "bulk": 180.0}
    assert sum(load.rate for load in loads) == 200.0


BROKEN = {
    "unknown key": ('[a]\nabout = "x"\nwarm_up_s = 1\nspeed = 3\n', "speed"),
    "no load": ('[a]\nabout = "x"\nwarm_up_s = 1\n', "no load"),
    "open without a rate": (
        '[a]\nabout = "x"\nwarm_up_s = 1\n'
        '[[a.load]]\nname = "b"\nask = "face"\nloop = "open"\nseconds = 1\nin_flight = 1',
        "rate",
    ),
    "unknown key of a load": (
        '[a]\nabout = "x"\nwarm_up_s = 1\n'
        '[[a.load]]\nname = "b"\nask = "face"\nloop = "closed"\nseconds = 1\nin_flight = 1\nspeed = 3',
        "speed",
    ),
    "missing value": ('[a]\nabout = "x"\nwarm_up_s = 1\n[[a.load]]\nname = "b"\nask = "face"', "loop"),
    "not TOML": ("[a", "profiles.toml"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_refused_with_the_reason(tmp_path, text, said):
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        load_profiles(path)


@pytest.mark.parametrize(
    "values",
    [
        {"ask": "voice"},
        {"loop": "closed"},
        {"seconds": 0.0},
        {"in_flight": 0},
        {"ask": "stream", "loop": "closed", "rate": 0.0},
        {"busy_s": 1.0},
    ],
    ids=["unknown ask", "closed with a rate", "no time", "nobody", "closed stream", "busy without idle"],
)
def test_a_load_that_cannot_be_is_refused(load, values):
    with pytest.raises(msgspec.ValidationError):
        load(**values)


def schedule(load) -> Schedule:
    return Schedule(load, Target("grpc", ("a:1",)), started_s=100.0, warm_up_s=2.0)


def taken(made: Schedule) -> list[float]:
    return list(itertools.takewhile(lambda due: due is not None, (made.take(0.0) for _ in itertools.count())))


def test_an_open_loop_is_due_on_its_schedule_whatever_the_time_is(load):
    made = schedule(load(rate=4.0, seconds=3.0))
    due = taken(made)
    assert due == [100 + i / 4 for i in range(20)]
    assert made.due() == 12 == sum(at_s >= 102 for at_s in due)


def test_pauses_move_what_comes_after_them(load):
    made = schedule(load(rate=2.0, seconds=6.0, busy_s=1.0, idle_s=1.0))
    assert [at_s - 100 for at_s in taken(made)] == [0, 0.5, 2, 2.5, 4, 4.5, 6, 6.5]
    assert made.due() == 6


def test_a_load_with_a_begin_of_its_own_has_no_warm_up(load):
    made = schedule(load(rate=1.0, seconds=3.0, begin_s=5.0))
    assert taken(made) == [107.0, 108.0, 109.0]
    assert made.due() == 3


def test_a_closed_loop_is_due_now_until_it_ends(load):
    made = schedule(load(loop="closed", rate=0.0, seconds=3.0))
    assert (made.take(103.5), made.take(105.0), made.due()) == (103.5, None, 0)


def test_streams_are_staggered_and_each_frame_is_counted(load):
    made = schedule(load(ask="stream", rate=10.0, in_flight=4, seconds=2.0))
    assert made.frame_s(1, 0) - made.frame_s(0, 0) == pytest.approx(0.025)
    assert made.due() == pytest.approx(80, abs=4)  # the sum of a float may fall to either side of the window's edge
