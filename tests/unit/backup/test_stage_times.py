"""What limited a command: from seconds of stages to a sentence."""

import time

import pytest

from walpy.backup.stage_times import Stopwatch, added, limited_by


def test_times_of_parts_are_added_by_stage() -> None:
    assert added([{"reading": 1.0, "storing": 2.0}, {"reading": 0.5, "compressing": 4.0}]) == {
        "reading": 1.5,
        "storing": 2.0,
        "compressing": 4.0,
    }
    assert added([]) == {}


def test_the_longest_stage_is_named_and_all_are_told_in_their_order() -> None:
    times = {"reading": 1.2, "verifying": 0.0, "compressing": 8.1, "storing": 0.7}
    assert limited_by(times, "the server", 1.0, 12.0) == (
        "Limited by compressing: reading 12 %, compressing 81 %, storing 7 % of the workers' time"
    )


def test_stages_that_took_next_to_nothing_are_not_told() -> None:
    assert limited_by({"reading": 0.001, "storing": 5.0}, "the server", 0.0, 5.0) == (
        "Limited by storing: storing 100 % of the workers' time"
    )


def test_what_the_command_waited_for_itself_counts_when_it_took_most_of_the_time() -> None:
    times = {"reading": 1.0, "compressing": 2.0}
    assert limited_by(times, "the server", 5.1, 10.0) == "Limited by the server: 5.1 of 10.0 s"
    assert limited_by(times, "the server", 4.9, 10.0).startswith("Limited by compressing: ")


@pytest.mark.parametrize("times", [{}, {"reading": 0.0, "storing": 0.0}])
def test_nothing_is_said_of_nothing(times: dict[str, float]) -> None:
    assert limited_by(times, "the server", 0.0, 1.0) == ""


def test_a_stopwatch_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr("walpy.backup.stage_times.perf_counter", lambda: next(moments))
    watch = Stopwatch()
    with watch:
        pass
    with watch:
        time.time()
    assert watch.seconds == 2.5
