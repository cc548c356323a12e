"""The arithmetic of aliveness, and the files that keep it."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from walpy.config import Config
from walpy.errors import ConfigError
from walpy.storage.aliveness import Limits, Range, Status, delete_weight, transfer_weight
from walpy.storage.status_file import merge_statuses, read_statuses

LIMITS = Limits()
MIB = 1 << 20


def after(status: Status, results: list[bool]) -> Status:
    for result in results:
        status = status.after_operation(LIMITS, result, 1000, 1)
    return status


def count_until(status: Status, result: bool, is_alive: bool) -> int:
    count = 0
    while status.is_alive(LIMITS) != is_alive:
        status = after(status, [result])
        count += 1
    return count


def test_walg_counts() -> None:
    """Its documentation of the default limits: about 10 failures in a row kill, about 20 successes revive."""
    alive = Status(1000, 1000, True, 1)
    dead = Status(1000, 0, False, 1)
    assert count_until(alive, False, False) in range(5, 11)
    assert count_until(dead, True, True) in range(10, 31)


def test_a_storage_dies_late_and_revives_late() -> None:
    between = Status(1000, 900, True, 1)
    assert between.is_alive(LIMITS)
    assert not between._replace(was_alive=False).is_alive(LIMITS)


def test_a_check_decides_at_once() -> None:
    unknown = Status()
    assert not unknown.is_alive(LIMITS)
    assert unknown.after_check(True, 5) == Status(0, 0, True, 5)
    assert unknown.after_check(True, 5).is_alive(LIMITS)
    assert not unknown.after_check(False, 5).is_alive(LIMITS)
    assert Status(1000, 990, True, 1).after_check(False, 5) == Status(1000, 0, False, 5)
    assert Status(1000, 10, False, 1).after_check(True, 5).is_alive(LIMITS)


def test_averages_move_by_the_stated_shares() -> None:
    full = Status(1000, 1000, True, 1).after_operation(LIMITS, False, 2000, 2)
    assert full == Status(pytest.approx(1010), pytest.approx(990), True, 2)
    dead = Status(1000, 0, False, 1).after_operation(LIMITS, True, 1000, 2)
    assert dead == Status(pytest.approx(1000), pytest.approx(500), False, 2)


def test_weights() -> None:
    assert [transfer_weight(size) for size in (0, 1, MIB, 10 * MIB)] == [1000, 1000, 1000, 2000]
    assert [delete_weight(count) for count in (0, 1, 10)] == [500, 500, 1000]


def test_freshness() -> None:
    status = Status(updated_ns=10**12)
    assert status.is_fresh(10**12 + 900 * 10**9, 900)
    assert not status.is_fresh(10**12 + 901 * 10**9, 900)
    assert not status.is_fresh(10**12 - 1, 900)


def test_limits_are_read_and_checked() -> None:
    prefix = "WALG_FAILOVER_STORAGES_CACHE_EMA_"
    assert Limits.from_config(Config()) == Limits(0.99, 0.88, Range(0.01, 0.05), Range(0.1, 0.5))
    for wrong in (
        {"ALIVE_LIMIT": "1"},
        {"DEAD_LIMIT": "0"},
        {"ALIVE_LIMIT": "0.5"},
        {"ALPHA_ALIVE_MIN": "0.06"},
        {"ALPHA_DEAD_MAX": "much"},
    ):
        with pytest.raises(ConfigError, match=r"EMA|number"):
            Limits.from_config(Config.from_mapping({f"{prefix}{key}": value for key, value in wrong.items()}))


# ---- the file


def test_statuses_are_kept_as_walg_keeps_them(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    status = Status(1000.5, 990.25, True, 1_777_623_630_123_456_789)
    merge_statuses(path, {"default#ab": status})
    assert json.loads((tmp_path / "cache").read_text()) == {
        "default#ab": {
            "potential_aliveness": 1000.5,
            "actual_aliveness": 990.25,
            "previous_aliveness": True,
            "updated": "2026-05-01T08:20:30.123456789Z",
        }
    }
    assert read_statuses(path) == {"default#ab": status}


def test_the_newer_status_wins_and_those_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    theirs = {"potential_aliveness": 1, "actual_aliveness": 1, "previous_aliveness": True, "more": [1]}
    path.write_text(
        json.dumps(
            {
                "a#1": {**theirs, "updated": "2026-05-01T10:20:30.5+02:00"},
                "b#2": {**theirs, "updated": "2026-05-01T08:20:30Z"},
                "other#3": {**theirs, "updated": "2026-05-01T08:20:30Z"},
                "without": {},
            }
        )
    )
    at = 1_777_623_630 * 10**9
    merge_statuses(str(path), {"a#1": Status(2, 2, False, at), "b#2": Status(2, 2, False, at + 1)})
    found = read_statuses(str(path))
    assert found["a#1"] == Status(1, 1, True, at + 500_000_000)
    assert found["b#2"] == Status(2, 2, False, at + 1)
    assert json.loads(path.read_text())["other#3"]["more"] == [1]
    assert "without" not in json.loads(path.read_text())  # WAL-G crashes on such a key


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"a#1": 5, "b#2": {"updated": "now"}}', b""])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache"
    path.write_bytes(content)
    assert read_statuses(str(path)) == {}
    merge_statuses(str(path), {"a#1": Status(1, 1, True, 7)})
    assert read_statuses(str(path)) == {"a#1": Status(1, 1, True, 7)}


def test_a_file_that_cannot_be_used_is_only_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").mkdir()
    for path in (tmp_path / "cache", tmp_path / "missing/cache"):
        assert read_statuses(str(path)) == {}
        merge_statuses(str(path), {"a#1": Status(1, 1, True, 7)})
    assert "cannot be written" in caplog.text


def _merge_many(path: str, number: int) -> None:
    for round_number in range(50):
        merge_statuses(path, {f"s{number}#{round_number}": Status(1, 1, True, 1)})


def test_processes_do_not_lose_each_others_statuses(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=_merge_many, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert len(read_statuses(path)) == 150
    assert os.stat(path).st_mode & 0o777 == 0o644
