import pytest

from benchmarks import machine
from benchmarks.machine import (
    TICK_SECONDS,
    Usage,
    command_seconds,
    is_busy,
    machine_seconds,
    own_seconds,
    process_seconds,
)

STAT = "cpu  100 20 30 9999 8888 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
PROCESS = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 100 50 30 20 20 0 1 0 77 88 99"


def test_idle_and_waiting_for_disks_are_not_busy_and_guests_count_once() -> None:
    assert machine_seconds(STAT) == pytest.approx((100 + 20 + 30 + 4 + 5 + 6) * TICK_SECONDS)


def test_a_process_may_have_any_name() -> None:
    assert process_seconds(PROCESS) == pytest.approx(200 * TICK_SECONDS)
    assert own_seconds(PROCESS) == pytest.approx(150 * TICK_SECONDS)


def test_a_reaped_process_counts_only_what_it_used_meanwhile() -> None:
    before = Usage(machine=0, harness=0, finished=10.0, living={7: 3.0, 8: 1.0})
    after = Usage(machine=0, harness=0, finished=14.5, living={8: 1.25, 9: 0.5})  # 7 ended with 4.5 seconds in all
    assert command_seconds(before, after) == pytest.approx(1.5 + 0.25 + 0.5)


def test_busy_is_a_share_of_long_samples_and_some_ticks_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SLACK_SECONDS", 0.04)
    assert not is_busy(0.249, 1.0)
    assert is_busy(0.251, 1.0)
    assert not is_busy(0.039, 0.01)
    assert is_busy(0.041, 0.01)


def test_descendants_leave_out_the_trees_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {1: [2, 3], 2: [4], 3: [5], 4: [6]}
    monkeypatch.setattr(machine, "children_of", lambda pid: tree.get(pid, []))
    assert sorted(machine.descendants(1)) == [2, 3, 4, 5, 6]
    assert sorted(machine.descendants(1, without={2})) == [3, 5]
