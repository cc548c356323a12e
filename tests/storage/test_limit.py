"""Rate limits, on a clock that only sleeping moves; and over real processes."""

import multiprocessing
import multiprocessing.sharedctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.clock import FakeTime
from tests.storage.contract import MIB, StorageContract, content, read
from walpy.config import Config
from walpy.errors import ConfigError
from walpy.storage.base import Storage
from walpy.storage.fs import FsStorage
from walpy.storage.limit import LimitedStorage, RateLimiter, limited, monotonic


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


def limiter(clock: FakeTime, limit: int) -> RateLimiter:
    return RateLimiter(limit, clock=clock.clock, sleep=clock.sleep)


def test_a_burst_passes_at_once_and_the_rest_at_the_limit(clock: FakeTime) -> None:
    limit = limiter(clock, 100_000)
    limit.acquire(165_536)
    assert clock.slept == []
    limit.acquire(50_000)
    assert clock.slept == [pytest.approx(0.5)]
    limit.acquire(100_000)
    assert clock.slept == [pytest.approx(0.5), pytest.approx(1.0)]


def test_a_long_stream_takes_its_time(clock: FakeTime) -> None:
    limit = limiter(clock, 1_000_000)
    for _ in range(1000):
        limit.acquire(65_536)
    assert clock.now - 1000 == pytest.approx((65_536 * 1000 - limit.burst) / 1_000_000)


def test_a_pause_gives_back_no_more_than_a_burst(clock: FakeTime) -> None:
    limit = limiter(clock, 100_000)
    limit.acquire(limit.burst)
    clock.now += 3600
    limit.acquire(limit.burst)
    assert clock.slept == []
    limit.acquire(1000)
    assert clock.slept == [pytest.approx(0.01)]


def test_more_than_a_burst_passes_late_but_passes(clock: FakeTime) -> None:
    limit = limiter(clock, 1000)
    limit.acquire(limit.burst + 5000)
    assert clock.slept == [pytest.approx(5.0)]


def test_threads_share_the_limit(clock: FakeTime) -> None:
    """Nobody sleeps here: each caller is told his own moment, and the last one is what all the bytes take."""
    delays: list[float] = []
    limit = RateLimiter(1_000_000, clock=clock.clock, sleep=delays.append)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(limit.acquire, [50_000] * 400))
    assert max(delays) == pytest.approx((400 * 50_000 - limit.burst) / 1_000_000)
    assert len(set(delays)) == len(delays)


def test_a_set_event_ends_the_wait(clock: FakeTime) -> None:
    limit = limiter(clock, 1)
    cancel = threading.Event()
    cancel.set()
    started = time.monotonic()
    limit.acquire(10**9, cancel)
    assert time.monotonic() - started < 60
    assert clock.slept == []


def _spend(moment: "multiprocessing.sharedctypes.Synchronized[float]") -> None:
    delays: list[float] = []
    limit = RateLimiter(1_000_000, moment, sleep=delays.append)
    for _ in range(200):
        limit.acquire(10_000)


def test_processes_share_the_limit() -> None:
    context = multiprocessing.get_context("spawn")
    moment = context.Value("d", 0.0)
    before = monotonic()
    processes = [context.Process(target=_spend, args=(moment,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    # 4 MB at 1 MB a second, whatever moment they began at: the schedule lies 4 s after the first one's start.
    assert before + 4 <= moment.value
    assert moment.value <= monotonic() + 4.001


def test_monotonic_is_a_clock_of_the_machine() -> None:
    assert monotonic() == pytest.approx(time.monotonic(), abs=5)


@pytest.mark.parametrize(("value", "expected"), [("", None), ("0", None), ("-5", None), ("1000", 1000)])
def test_limiter_of_a_configuration(value: str, expected: int | None) -> None:
    made = RateLimiter.from_config(Config.from_mapping({"WALG_NETWORK_RATE_LIMIT": value}), "WALG_NETWORK_RATE_LIMIT")
    assert (made.limit if made else None) == expected


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="WALG_NETWORK_RATE_LIMIT"):
        RateLimiter.from_config(Config.from_mapping({"WALG_NETWORK_RATE_LIMIT": "fast"}), "WALG_NETWORK_RATE_LIMIT")


def test_no_limiter_leaves_the_storage_as_it_is(tmp_path: Path) -> None:
    storage = FsStorage(str(tmp_path))
    assert limited(storage, None) is storage


def test_puts_and_reads_are_limited_together(tmp_path: Path, clock: FakeTime) -> None:
    storage = limited(FsStorage(str(tmp_path)), limiter(clock, 1_000_000))
    data = content(3 * MIB)
    storage.put("a", [data])
    spent = (len(data) - 1_065_536) / 1_000_000
    assert clock.now - 1000 == pytest.approx(spent)
    assert read(storage, "a") == data
    assert clock.now - 1000 == pytest.approx(spent + len(data) / 1_000_000)


def test_lookups_are_not_limited(tmp_path: Path, clock: FakeTime) -> None:
    storage = limited(FsStorage(str(tmp_path)), limiter(clock, 1))
    storage.put("a", [b"x"])
    for _ in range(100):
        storage.stat("a")
        storage.list_folder("")
        list(storage.list(""))
    assert clock.slept == []


def test_long_chunks_are_cut_to_bursts(tmp_path: Path, clock: FakeTime) -> None:
    pieces = [len(piece) for piece in limiter(clock, 1).limited([b"x" * 200_000, b"", b"y"])]
    assert pieces == [65_537, 65_537, 65_537, 3389, 0, 1]


class TestLimitedStorage(StorageContract):
    """The contract holds under a limit that cuts chunks into odd pieces."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LimitedStorage(FsStorage(str(tmp_path)), RateLimiter(1001, sleep=lambda seconds: None))
