"""Worker processes: results, bounds, errors, deaths, signals."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from walpy.errors import BackupError, DataCorrupt, Interrupted, StorageUnavailable, WalpyError, WorkerDied
from walpy.pipeline import Report, Workers, run_jobs, shared_number, start_ahead

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

ROOT = Path(__file__).resolve().parents[2]
logger = logging.getLogger(__name__)
settings: dict[str, object] = {}


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name


class Stubborn(Exception):
    """Does not survive pickling: its constructor wants two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def square(job: int, report: Report) -> tuple[int, int]:
    report(job)
    return job * job, os.getpid()


def configured(job: str, report: Report) -> object:
    return settings[job]


def configure(key: str, value: object) -> None:
    settings[key] = value


def fail(job: Named, report: Report) -> None:
    if job.name == "walpy error":
        try:
            raise OSError("disk on fire")
        except OSError as error:
            raise StorageUnavailable("no storage", "Buy one.") from error
    if job.name == "stubborn":
        raise Stubborn("very", "stubborn")
    if job.name == "unexpected":
        raise ZeroDivisionError("who divides by zero")


def unpicklable_result(job: int, report: Report) -> object:
    return lambda: job


def die(job: Named, report: Report) -> None:
    if job.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "exits":
        os._exit(7)


def hang(job: Path, report: Report) -> None:
    job.write_text(str(os.getpid()))
    threading.Event().wait()


def fail_beside_a_hanging_job(job: Named, report: Report) -> None:
    if job.name == "hangs":
        Path(str(job.value)).write_text(str(os.getpid()))
        threading.Event().wait()
    while not Path(str(job.value)).exists():
        os.sched_yield()
    raise BackupError("the other one")


def log_and_count(job: int, report: Report) -> int:
    logger.info("job %s of %s", job, "worker")
    logger.debug("not wanted")
    logging.getLogger("some.library").info("not wanted either")
    for _ in range(1000):
        report(1)
    return len(pickle.dumps(job))


def ignores(job: int, report: Report) -> list[bool]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        os.kill(os.getpid(), number)
    return [signal.getsignal(number) == signal.SIG_IGN for number in numbers]


def remember(number: "Synchronized[float]") -> None:
    settings["number"] = number


def count_up(job: float, report: Report) -> None:
    number = cast("Synchronized[float]", settings["number"])
    for _ in range(100):
        with number.get_lock():
            number.value += job


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_dead(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still alive"
        os.sched_yield()


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_every_job_has_one_result(processes: int) -> None:
    results: list[tuple[int, int]] = []
    counts: list[int] = []
    run_jobs(square, range(20), processes=processes, on_result=results.append, on_progress=counts.append)
    assert sorted(value for value, _ in results) == [number * number for number in range(20)]
    assert sum(counts) == sum(range(20))
    workers = {pid for _, pid in results}
    assert (workers == {os.getpid()}) if processes == 0 else (os.getpid() not in workers)
    assert len(workers) <= max(1, processes)


@pytest.mark.parametrize("processes", [0, 2])
def test_initializer_runs_before_the_first_job(processes: int) -> None:
    results: list[object] = []
    run_jobs(
        configured, ["k"], processes=processes, initializer=configure, initargs=("k", [1, 2]), on_result=results.append
    )
    assert results == [[1, 2]]


def test_a_shared_number_is_the_same_everywhere() -> None:
    number = shared_number()
    run_jobs(count_up, [1.0, 2.0, 3.0], processes=3, initializer=remember, initargs=(number,))
    assert number.value == 600


def test_no_jobs_start_no_worker() -> None:
    run_jobs(square, [], processes=2, initializer=configure, initargs=("only one argument",))


def test_jobs_are_read_as_workers_become_free() -> None:
    done: list[int] = []
    ahead: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(10):
            ahead.append(number - len(done))
            yield number

    run_jobs(square, jobs(), processes=2, on_result=lambda result: done.append(result[0]))
    assert max(ahead) <= 2


def test_a_big_job_and_a_big_result_pass() -> None:
    sizes: list[int] = []
    run_jobs(_echo, [b"x" * (8 << 20)] * 3, processes=2, on_result=lambda data: sizes.append(len(data)))
    assert sizes == [8 << 20] * 3


def _echo(job: bytes, report: Report) -> bytes:
    return job


def test_error_of_a_worker_is_raised_with_its_hint_and_cause() -> None:
    with pytest.raises(StorageUnavailable, match="no storage") as caught:
        run_jobs(fail, [Named("fine"), Named("walpy error")], processes=2)
    assert caught.value.hint == "Buy one."
    assert isinstance(caught.value.__cause__, OSError)
    assert str(caught.value.__cause__) == "disk on fire"


def test_unexpected_error_keeps_its_type_and_carries_the_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_jobs(fail, [Named("unexpected")], processes=1)
    assert "in fail" in "".join(caught.value.__notes__)


def test_error_that_does_not_pickle_is_wrapped() -> None:
    with pytest.raises(WalpyError, match="Stubborn: very stubborn"):
        run_jobs(fail, [Named("stubborn")], processes=1)


def test_result_that_does_not_pickle_is_an_error() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        run_jobs(unpicklable_result, [1], processes=1)


def test_error_of_the_initializer_is_raised() -> None:
    with pytest.raises(TypeError):
        run_jobs(square, [1], processes=1, initializer=configure, initargs=("only one argument",))


def test_error_of_on_result_ends_the_workers() -> None:
    pids: list[int] = []

    def refuse(result: tuple[int, int]) -> None:
        pids.append(result[1])
        raise DataCorrupt("bad result")

    with pytest.raises(DataCorrupt):
        run_jobs(square, range(5), processes=2, on_result=refuse)
    assert not multiprocessing.active_children()
    wait_until_dead(pids[0])


def test_first_error_ends_a_worker_that_would_hang(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(BackupError, match="the other one"):
        run_jobs(fail_beside_a_hanging_job, [Named("hangs", str(file)), Named("fails", str(file))], processes=2)
    wait_until_dead(int(file.read_text()))


@pytest.mark.parametrize(("name", "how"), [("killed", "killed by SIGKILL"), ("exits", "exit code 7")])
def test_a_worker_that_dies_is_an_error_that_names_its_job(name: str, how: str) -> None:
    with pytest.raises(WorkerDied, match=rf"{how}.* while it worked on {name}"):
        run_jobs(die, [Named("fine"), Named(name), Named("fine")], processes=2)


def test_a_worker_that_dies_before_it_tells_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(process: BaseProcess) -> None:
        raise EOFError

    monkeypatch.setattr(BaseProcess, "start", start)
    with pytest.raises(WorkerDied, match="ended while it started"):
        run_jobs(die, [Named("fine")], processes=1)


def test_started_ahead_it_works_as_well() -> None:
    start_ahead(__name__)
    start_ahead(__name__)
    results: list[object] = []
    run_jobs(die, [Named("fine")], processes=1, on_result=results.append)
    assert results == [None]


def test_workers_that_were_started_ahead_take_the_jobs() -> None:
    results: list[tuple[int, int]] = []
    with Workers(square) as workers:
        workers.start(2)
        ahead = {process.pid for process in multiprocessing.active_children()}
        workers.run(range(20), processes=3, on_result=results.append)
        assert not multiprocessing.active_children(), "they end with the run"
    assert len(ahead) == 2
    assert sorted(value for value, _ in results) == [number * number for number in range(20)]
    assert ahead <= {pid for _, pid in results}


def test_more_workers_than_jobs_end_with_the_run() -> None:
    results: list[tuple[int, int]] = []
    workers = Workers(square)
    workers.start(3)
    workers.run([7], processes=1, on_result=results.append)
    assert [value for value, _ in results] == [49]
    assert not multiprocessing.active_children()


def test_workers_without_a_run_end_with_the_context() -> None:
    with Workers(square) as workers:
        workers.start(2)
        pids = [process.pid for process in multiprocessing.active_children()]
    assert len(pids) == 2
    assert not any(pid is not None and is_alive(pid) for pid in pids)


def test_an_initializer_that_failed_ahead_is_told_by_the_run() -> None:
    with Workers(square, configure, ("only one argument",)) as workers:
        workers.start(2)
        with pytest.raises(TypeError):
            workers.run([1], processes=1)
    assert not multiprocessing.active_children()


def test_a_worker_that_died_ahead_is_told_by_the_run() -> None:
    with Workers(square) as workers:
        workers.start(1)
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        with pytest.raises(WorkerDied, match="was killed by SIGKILL"):
            workers.run([1], processes=1)


SLOW_END = """
import sys
sys.path.insert(0, {root!r})

class Slow:
    def __del__(self):
        print("taken apart", flush=True)

kept = Slow()
kept.itself = kept
if {is_imported}:
    import walpy.fork_server
raise SystemExit
"""


@pytest.mark.parametrize("is_imported", [False, True])
def test_the_fork_server_is_not_taken_apart_at_its_end(*, is_imported: bool) -> None:
    program = SLOW_END.format(root=str(ROOT), is_imported=is_imported)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == ("" if is_imported else "taken apart\n")


def test_log_records_and_counts_come_to_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger.name)
    counts: list[int] = []
    run_jobs(log_and_count, [1, 2], processes=1, on_progress=counts.append)
    assert sorted(caplog.messages) == ["job 1 of worker", "job 2 of worker"]
    assert sum(counts) == 2000
    assert len(counts) < 200


@pytest.mark.parametrize("processes", [0, 1])
def test_heartbeat_runs_in_the_caller_and_may_end_the_run(processes: int) -> None:
    threads: list[threading.Thread] = []

    def beat() -> None:
        threads.append(threading.current_thread())
        raise BackupError("no pulse")

    with pytest.raises(BackupError, match="no pulse"):
        run_jobs(square, range(5), processes=processes, heartbeat=beat)
    assert threads == [threading.current_thread()]


def test_heartbeat_goes_on_while_a_job_is_silent(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def beat() -> None:
        if file.exists() and file.read_text():
            raise BackupError("no pulse")

    with pytest.raises(BackupError, match="no pulse"):
        run_jobs(hang, [file], processes=1, heartbeat=beat)


def test_workers_leave_signals_to_the_parent() -> None:
    results: list[list[bool]] = []
    run_jobs(ignores, [1], processes=1, on_result=results.append)
    assert results == [[True, True, True]]


def test_a_program_without_a_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.unit.test_pipeline import square
from walpy.pipeline import run_jobs
print("imported", flush=True)
run_jobs(square, [3], processes=1, on_result=lambda result: print(result[0]))
"""
    )
    output = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["imported", "9"]


def test_interrupt_ends_workers_at_once(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted("stop", "", number)

    def signal_when_busy() -> None:
        while not (file.exists() and file.read_text()):
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=signal_when_busy).start()
        with pytest.raises(Interrupted):
            run_jobs(hang, [file], processes=1)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    wait_until_dead(int(file.read_text()))


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.unit.test_pipeline import hang
from walpy.pipeline import run_jobs
run_jobs(hang, [Path({str(file)!r})], processes=1)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        while not (file.exists() and file.read_text()):
            assert parent.poll() is None
            os.sched_yield()
        worker = int(file.read_text())
        assert is_alive(worker)
    finally:
        parent.kill()
        parent.wait()
    wait_until_dead(worker)


def test_a_long_temporary_folder_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.unit.test_pipeline import count_up, remember
from walpy.logs import exit_now
from walpy.pipeline import run_jobs, shared_number
number = shared_number()
run_jobs(count_up, [1.0, 2.0], processes=2, initializer=remember, initargs=(number,))
print(number.value, flush=True)
exit_now(0)
"""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("300.0\n", "")
    assert list(folder.iterdir()) == []


LONELY_WORKER = """
import os, pickle, socket, threading
from multiprocessing.connection import Connection
from walpy.pipeline import _Task, _work

parent, worker = (Connection(end.detach()) for end in socket.socketpair())
parent.send_bytes(pickle.dumps("job"))
socket.socket(fileno=os.dup(parent.fileno())).shutdown(socket.SHUT_RD)
threading.Timer(0.5, parent.close).start()
_work(worker, _Task(lambda job, report: job, None, (), {}))
"""


def test_a_worker_whose_parent_takes_no_result_says_nothing() -> None:
    """The parent is going away, and the worker writes before it notices: nobody wants to read Python's words."""
    ended = subprocess.run([sys.executable, "-c", LONELY_WORKER], capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
