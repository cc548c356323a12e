"""RetryPolicy, on a clock that only sleeping moves."""

import pickle
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.clock import FakeTime
from walpy.config import Config
from walpy.errors import (
    AccessDenied,
    ConfigError,
    DataCorrupt,
    ObjectMissing,
    StorageError,
    StorageThrottled,
    StorageUnavailable,
    describe,
)
from walpy.storage.base import Chunk
from walpy.storage.retry import Deadline, RetryPolicy, random_fraction


class Flaky:
    """Raises the errors one after the other, then returns 42; an attempt takes duration seconds."""

    def __init__(self, time: FakeTime, *errors: BaseException, duration: float = 0.0) -> None:
        self.calls = 0
        self._time = time
        self._errors = list(errors)
        self._duration = duration

    def __call__(self) -> int:
        self.calls += 1
        self._time.now += self._duration
        if self._errors:
            raise self._errors.pop(0)
        return 42


@pytest.fixture
def time() -> FakeTime:
    return FakeTime(now=50)


@pytest.fixture
def policy(time: FakeTime) -> RetryPolicy:
    return RetryPolicy(deadline=300, clock=time.clock, sleep=time.sleep, fraction=lambda: 0.999)


def test_a_call_that_succeeds_is_made_once(policy: RetryPolicy, time: FakeTime) -> None:
    function = Flaky(time)
    assert policy.call(function, what="look-up") == 42
    assert (function.calls, time.slept) == (1, [])


@pytest.mark.parametrize("error", [StorageUnavailable("reset"), StorageThrottled("slow down")])
def test_transient_errors_are_repeated(policy: RetryPolicy, time: FakeTime, error: StorageError) -> None:
    function = Flaky(time, error, error, error)
    assert policy.call(function, what="look-up") == 42
    assert function.calls == 4


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("no"),
        ObjectMissing("gone"),
        StorageError("odd"),
        DataCorrupt("bad"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_come_out_at_once_and_untouched(policy: RetryPolicy, time: FakeTime, error: BaseException) -> None:
    function = Flaky(time, error)
    with pytest.raises(type(error)) as caught:
        policy.call(function, what="look-up")
    assert caught.value is error
    assert (function.calls, time.slept) == (1, [])


def test_pauses_double_up_to_ten_seconds(policy: RetryPolicy, time: FakeTime) -> None:
    policy.call(Flaky(time, *[StorageUnavailable("x")] * 10), what="look-up")
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert time.slept == [pytest.approx(0.999 * bound) for bound in bounds]


def test_pauses_are_drawn_from_zero_up(policy: RetryPolicy, time: FakeTime) -> None:
    draws = iter([0.0, 0.5, 0.25])
    policy = policy._replace(fraction=lambda: next(draws))
    policy.call(Flaky(time, *[StorageUnavailable("x")] * 3), what="look-up")
    assert time.slept == [pytest.approx(0.0), pytest.approx(0.1), pytest.approx(0.1)]


def test_the_random_fraction_is_in_range_and_varies() -> None:
    drawn = [random_fraction() for _ in range(1000)]
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1


def test_the_deadline_ends_it(policy: RetryPolicy, time: FakeTime) -> None:
    function = Flaky(time, *[StorageUnavailable("no answer")] * 1000, duration=2.0)
    with pytest.raises(StorageUnavailable):
        policy.call(function, what="look-up")
    assert 285 < time.now - 50 <= 300


def test_the_last_error_says_how_long_and_how_often(policy: RetryPolicy, time: FakeTime) -> None:
    sdk_error = ConnectionResetError("peer")
    error = StorageThrottled("asked to slow down", "Try at night.")
    error.__cause__ = sdk_error
    with pytest.raises(StorageThrottled) as caught:
        policy.call(Flaky(time, *[error] * 1000, duration=100.0), what="upload of 'wal_005/x'")
    assert str(caught.value) == "upload of 'wal_005/x' failed: asked to slow down (tried 3 times in 300.3 s)"
    assert caught.value.hint == "Try at night."
    assert caught.value.__cause__ is sdk_error
    assert describe(caught.value).endswith(": peer\nTry at night.")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_without_a_cause_becomes_the_cause(policy: RetryPolicy, time: FakeTime) -> None:
    error = StorageUnavailable("reset")
    with pytest.raises(StorageUnavailable, match="tried once") as caught:
        policy._replace(deadline=0.0).call(Flaky(time, error), what="look-up")
    assert caught.value.__cause__ is error
    assert time.slept == []


def test_a_shared_deadline_spans_calls_and_bounds_attempts(policy: RetryPolicy, time: FakeTime) -> None:
    deadline = policy.start()
    given: list[float] = []

    def attempt() -> None:
        given.append(deadline.within(policy.read_timeout))
        time.now += given[-1]
        raise StorageUnavailable("time-out")

    time.now += 100
    with pytest.raises(StorageUnavailable):
        policy.call(attempt, what="upload", deadline=deadline)
    assert time.now - 50 <= 300 + 0.001
    assert given[0] == 60
    assert given[-1] < 60


def test_a_deadline_restarts_with_progress() -> None:
    time = FakeTime()
    deadline = Deadline(10, time.clock)
    time.now += 8
    assert deadline.remaining() == pytest.approx(2)
    assert deadline.within(5) == pytest.approx(2)
    deadline.restart()
    assert deadline.remaining() == pytest.approx(10)
    time.now += 11
    assert deadline.remaining() == 0
    assert deadline.within(5) == 0.001


def test_a_set_event_allows_no_further_attempt(policy: RetryPolicy, time: FakeTime) -> None:
    cancel = threading.Event()
    cancel.set()
    function = Flaky(time, StorageUnavailable("x"))
    with pytest.raises(StorageUnavailable, match="tried once"):
        policy.call(function, what="upload", cancel=cancel)
    assert function.calls == 1


class PauseWatch(threading.Event):
    """An event that says when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for.set()
        return super().wait(timeout)


def test_an_event_that_is_set_during_a_pause_ends_it(time: FakeTime) -> None:
    cancel = PauseWatch()
    policy = RetryPolicy(deadline=1e9, fraction=lambda: 1e6)  # a pause of 100 000 s, on the real clock
    function = Flaky(time, StorageUnavailable("x"))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(policy.call, function, what="upload", cancel=cancel)
        assert cancel.waited_for.wait(60)
        cancel.set()
        with pytest.raises(StorageUnavailable, match="tried once"):
            call.result(60)
    assert function.calls == 1


# reads that go on

DATA = bytes(range(256)) * 40


def reads(time: FakeTime, *attempts: int | BaseException, delay: float = 0.0) -> "Recorder":
    return Recorder(time, list(attempts), delay)


class Recorder:
    """Opens DATA at a position; an attempt breaks after so many chunks of 100 bytes, or raises its error at once."""

    def __init__(self, time: FakeTime, attempts: list[int | BaseException], delay: float) -> None:
        self.positions: list[int] = []
        self.closed = 0
        self._time = time
        self._attempts = attempts
        self._delay = delay

    def __call__(self, position: int) -> Generator[Chunk, None, None]:
        self.positions.append(position)
        attempt = self._attempts.pop(0) if self._attempts else len(DATA)
        try:
            if isinstance(attempt, BaseException):
                raise attempt
            for number, start in enumerate(range(position, len(DATA), 100)):
                self._time.now += self._delay
                if number == attempt:
                    raise StorageUnavailable("cut")
                yield memoryview(DATA)[start : start + 100]
        finally:
            self.closed += 1


def joined(chunks: Iterator[Chunk]) -> bytes:
    return b"".join(bytes(chunk) for chunk in chunks)


def test_a_read_goes_on_where_it_stopped(policy: RetryPolicy, time: FakeTime) -> None:
    opener = reads(time, 3, 0, StorageThrottled("slow down"), 7)
    assert joined(policy.resume(opener, what="read")) == DATA
    assert opener.positions == [0, 300, 300, 300, 1000]
    assert opener.closed == 5


def test_arriving_bytes_restart_deadline_and_pauses(policy: RetryPolicy, time: FakeTime) -> None:
    opener = reads(time, *[1] * 50, delay=200.0)
    assert joined(policy.resume(opener, what="read")) == DATA
    assert time.now > 10_000
    assert max(time.slept) < 0.1


def test_the_consumers_time_does_not_count(policy: RetryPolicy, time: FakeTime) -> None:
    opener = reads(time, 2, 2, 2)
    got = b""
    for chunk in policy.resume(opener, what="read"):
        got += bytes(chunk)
        time.now += 3600
    assert got == DATA


def test_a_read_without_progress_ends_at_the_deadline(policy: RetryPolicy, time: FakeTime) -> None:
    opener = reads(time, 5, *[0] * 1000)
    got = bytearray()

    def consume() -> None:
        for chunk in policy.resume(opener, what="read of 'a'"):
            got.extend(chunk)

    with pytest.raises(StorageUnavailable, match=r"^read of 'a' failed: cut \(tried \d+ times in 29\d\.\d s\)$"):
        consume()
    assert got == DATA[:500]


def test_permanent_errors_end_a_read(policy: RetryPolicy, time: FakeTime) -> None:
    error = DataCorrupt("changed")
    with pytest.raises(DataCorrupt) as caught:
        joined(policy.resume(reads(time, 2, error), what="read"))
    assert caught.value is error


def test_leaving_a_read_closes_it(policy: RetryPolicy, time: FakeTime) -> None:
    opener = reads(time)
    chunks = policy.resume(opener, what="read")
    next(chunks)
    assert opener.closed == 0
    del chunks
    assert opener.closed == 1


# configuration


def test_policy_of_an_empty_configuration() -> None:
    policy = RetryPolicy.from_config(Config.from_mapping({}))
    assert (policy.deadline, policy.connect_timeout, policy.read_timeout) == (300, 10, 60)
    assert policy == RetryPolicy()


def test_policy_of_a_configuration() -> None:
    values = {"WALPY_STORAGE_DEADLINE": "1h30m", "WALPY_CONNECT_TIMEOUT": "1.5s", "WALPY_READ_TIMEOUT": "200ms"}
    policy = RetryPolicy.from_config(Config.from_mapping(values))
    assert (policy.deadline, policy.connect_timeout, policy.read_timeout) == (5400, 1.5, 0.2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("WALPY_STORAGE_DEADLINE", "-1s"),
        ("WALPY_STORAGE_DEADLINE", "60"),
        ("WALPY_CONNECT_TIMEOUT", "0s"),
        ("WALPY_READ_TIMEOUT", "-5m"),
    ],
)
def test_wrong_durations_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        RetryPolicy.from_config(Config.from_mapping({key: value}))


def test_a_deadline_of_zero_is_allowed() -> None:
    assert RetryPolicy.from_config(Config.from_mapping({"WALPY_STORAGE_DEADLINE": "0s"})).deadline == 0
