"""Runs picklable jobs in worker processes: bounded, cancellable, first error wins.

One process and one socket pair per worker. The parent waits on the pairs alone: results, progress and log records come
through them, and their end tells that a worker died. In a worker a thread of its own reads the pair, so that a worker
whose parent is gone, killed or not, ends at once, whatever it is doing.

Processes come from a fork server, never from a fork of a process with threads. Workers do not import the caller's main
module: a program needs no guard, and start-up costs no more than what the job's module imports.

Memory: one job and one result a worker in the parent, besides what on_result keeps.
"""

import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from walpy.errors import WalpyError, WorkerDied
from walpy.interrupts import SIGNALS, deferred

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

Job = TypeVar("Job")
Result = TypeVar("Result")
Report = Callable[[int], None]  # tells the parent a count, such as bytes done; safe to call from any thread

STOP_GRACE = 0.5  # seconds a worker has to end by itself before it is killed
HEARTBEAT = 1.0  # seconds, at most, between heartbeats
REPORT_INTERVAL = 0.1  # seconds between progress messages of one worker
LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")  # bytes; Linux allows 107 for a socket's path

FORK_SERVER = "walpy.fork_server"

logger = logging.getLogger(__name__)


def run_jobs(
    function: Callable[[Job, Report], Result],
    jobs: Iterable[Job],
    *,
    processes: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[object, ...] = (),
    on_result: Callable[[Result], None] | None = None,
    on_progress: Report | None = None,
    heartbeat: Callable[[], None] | None = None,
) -> None:
    """Call function(job, report) for every job, in worker processes, and hand each result to on_result.

    function, initializer: importable by name, not from the main module. initializer(*initargs) runs once in every
    worker, before its first job. Jobs, results and initargs are pickled; str(job) names a job in messages. on_result
    and on_progress run in the caller's thread, results in the order in which they are ready; heartbeat too, at least
    once in HEARTBEAT seconds (between jobs when processes=0). jobs is read as workers become free.

    The first error, a worker's or one of on_result or jobs, ends all workers and is raised. Raises WorkerDied when a
    worker ends without a result. processes=0 runs everything in the caller.
    """
    workers = Workers(function, initializer, initargs)
    workers.run(jobs, processes=processes, on_result=on_result, on_progress=on_progress, heartbeat=heartbeat)


def start_ahead(*modules: str) -> None:
    """Start the process that workers come from, while the caller prepares.

    modules: where the jobs' function is, and what else all workers need; it imports them meanwhile. It ends with the
    caller, whether jobs follow or not.
    """
    _context(*modules)
    _start_fork_server()


def shared_number() -> "Synchronized[float]":
    """A number with a lock, for initargs: the same one in the caller and in all workers."""
    return _context().Value("d", 0.0)


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Listener(Generic[Result]):
    """What the caller wants to be told."""

    on_result: Callable[[Result], None]
    on_progress: Report
    heartbeat: Callable[[], None]

    @staticmethod
    def no_heartbeat() -> None:
        pass


@dataclass(slots=True)
class _Worker(Generic[Job]):
    """The parent's side of one worker; job is what it works on."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None


class Workers(Generic[Job, Result]):
    """Worker processes of a function, which may be started before there are jobs; leaving the context ends them.

    function, initializer, initargs: see run_jobs.
    """

    def __init__(
        self,
        function: Callable[[Job, Report], Result],
        initializer: Callable[..., None] | None = None,
        initargs: tuple[object, ...] = (),
    ) -> None:
        self._context = _context(function.__module__)
        self._task = _Task(function, initializer, initargs, _log_levels())
        self._listener: _Listener[Result] = _Listener(_ignore, _ignore, _Listener.no_heartbeat)
        self._workers: list[_Worker[Job]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def start(self, count: int) -> None:
        """Start workers ahead, while something else is waited for; they run the initializer. Raises WorkerDied."""
        for _ in range(count):
            self._start()

    def run(
        self,
        jobs: Iterable[Job],
        *,
        processes: int,
        on_result: Callable[[Result], None] | None = None,
        on_progress: Report | None = None,
        heartbeat: Callable[[], None] | None = None,
    ) -> None:
        """Do all jobs, as run_jobs does, and end the workers.

        processes: so many at most are started in all; if more were started ahead, they work too.
        """
        self._listener = _Listener(on_result or _ignore, on_progress or _ignore, heartbeat or _Listener.no_heartbeat)
        if processes == 0:
            self._run_here(jobs)
            return
        with self:
            for job in jobs:
                self._wait_for_free_worker(processes)
                self._hand_out(job)
            self._wait_for_all()

    def _run_here(self, jobs: Iterable[Job]) -> None:
        task = self._task
        if task.initializer is not None:
            task.initializer(*task.initargs)
        for job in jobs:
            self._listener.on_result(task.function(job, self._listener.on_progress))
            self._listener.heartbeat()

    def _hand_out(self, job: Job) -> None:
        """Give a job to an idle worker, starting one when all are busy."""
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._start()
        worker.job = job
        try:
            worker.connection.send(job)
        except OSError as error:
            raise _died(worker) from error

    def _wait_for_free_worker(self, most: int) -> None:
        """Take results until a worker is idle or may be started."""
        while len(self._workers) >= most and all(worker.job is not None for worker in self._workers):
            self._receive()

    def _wait_for_all(self) -> None:
        """Take results until every job is done."""
        while any(worker.job is not None for worker in self._workers):
            self._receive()

    def _start(self) -> _Worker[Job]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._task), daemon=True)
        worker: _Worker[Job] = _Worker(process, ours)
        _start_fork_server()
        with deferred(), _no_main_module():  # a process that is started and not noted would outlive this one
            _start(process)
            self._workers.append(worker)
        theirs.close()  # from now on the end of the worker is the end of the stream
        return worker

    def _receive(self) -> None:
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(by_connection), HEARTBEAT):
            worker = by_connection[cast("Connection", ready)]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                raise _died(worker) from None
            if isinstance(message, _Done):
                worker.job = None
                self._listener.on_result(cast("Result", message.result))
            else:
                _handle(message, self._listener.on_progress)
        self._listener.heartbeat()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # the worker's reader sees the end and leaves
        deadline = time.monotonic() + STOP_GRACE
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()


def _context(*modules: str) -> ForkServerContext:
    """How processes start. A TMPDIR that is too long for the sockets that multiprocessing makes there is not used.

    modules: what the process that they come from imports, if it is not running yet.
    """
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"
    context = multiprocessing.get_context("forkserver")
    if modules:
        context.set_forkserver_preload([FORK_SERVER, *modules])
    return context


def _start_fork_server() -> None:
    """Start it, unless it runs, deaf to the signals that a terminal or systemd sends to all processes of a command.

    It passes that on to the workers, whose parent alone decides what a signal means. By itself it ignores SIGINT only,
    and not before it has imported what the jobs need.
    """
    resource_tracker.ensure_running()  # before: it changes the mask for itself
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start(process: BaseProcess) -> None:
    try:
        process.start()
    except EOFError:  # the new process ended before it told its number
        raise WorkerDied(
            "a worker process ended while it started",
            "SIGKILL usually comes from the kernel's out-of-memory killer; dmesg tells.",
        ) from None


def _handle(message: object, report: Report) -> None:
    """Act on a message that is no result."""
    if isinstance(message, _Progress):
        report(message.count)
    elif isinstance(message, _Failed):
        raise message.error from message.cause
    elif isinstance(message, logging.LogRecord):
        target = logging.getLogger(message.name)
        if target.isEnabledFor(message.levelno):
            target.handle(message)


def _died(worker: _Worker[Job]) -> WorkerDied:
    worker.process.join(STOP_GRACE)
    code = worker.process.exitcode
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
        hint = "SIGKILL usually comes from the kernel's out-of-memory killer; dmesg tells." if code == -9 else ""
    else:
        how, hint = f"ended with exit code {code}", ""
    what = "before its first job" if worker.job is None else f"while it worked on {worker.job}"
    return WorkerDied(f"worker process {worker.process.pid} {how} {what}", hint)


def _log_levels() -> dict[str, int]:
    """Levels that were set, by logger; the root's name is empty."""
    named = logging.root.manager.loggerDict
    levels = {name: item.level for name, item in named.items() if isinstance(item, logging.Logger) and item.level}
    return {"": logging.root.level, **levels}


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep multiprocessing from telling the child to import the caller's main module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# ---- messages, worker to parent: also LogRecord


@dataclass(frozen=True, slots=True)
class _Done:
    result: object


@dataclass(frozen=True, slots=True)
class _Progress:
    count: int


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException
    cause: BaseException | None


# ---- inside a worker


@dataclass(frozen=True, slots=True)
class _Task(Generic[Job, Result]):
    """What every worker of a run is told at its start."""

    function: Callable[[Job, Report], Result]
    initializer: Callable[..., None] | None
    initargs: tuple[object, ...]
    log_levels: dict[str, int]


@dataclass(slots=True)
class _Channel:
    """Sends messages to the parent from any thread; counts are gathered and sent now and then."""

    connection: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    reported: float = 0.0

    def send(self, message: object) -> None:
        with self.lock:
            self._flush()
            self.connection.send(message)

    def report(self, count: int) -> None:
        with self.lock:
            self.count += count
            if time.monotonic() - self.reported >= REPORT_INTERVAL:
                self._flush()

    def _flush(self) -> None:
        if self.count:
            self.connection.send(_Progress(self.count))
            self.count, self.reported = 0, time.monotonic()


class _LogToParent(logging.Handler):
    """Sends records to the parent, whose handlers print them."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None  # arguments and exceptions may not pickle
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        self._channel.send(record)


def _work(connection: Connection, task: "_Task[object, object]") -> None:
    """A worker's life: jobs in, results out, until the parent closes the connection or is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent decides what a signal means, and ends its workers
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(connection, jobs), daemon=True).start()
    channel = _Channel(connection)
    logging.basicConfig(handlers=[_LogToParent(channel)], force=True)
    for name, level in task.log_levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        if task.initializer is not None:
            task.initializer(*task.initargs)
        while True:
            job = pickle.loads(jobs.get())
            channel.send(_Done(task.function(job, channel.report)))
    except Exception as error:  # noqa: BLE001 - the worker boundary: whatever it is, the parent raises it
        with suppress(OSError):  # a parent that is gone has no use for it, and may be what failed
            channel.send(_failure(error))
        threading.Event().wait()  # the parent closes the connection, which ends this process


def _read_jobs(connection: Connection, jobs: "queue.SimpleQueue[bytes]") -> None:
    while True:
        try:
            job = connection.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        jobs.put(job)


def _failure(error: Exception) -> _Failed:
    """The error and its cause, as far as they can travel; an unexpected error carries its traceback as a note."""
    if not isinstance(error, WalpyError):
        error.add_note("".join(traceback.format_exception(error)))
    cause = error.__cause__
    return _Failed(_picklable(error), None if cause is None else _picklable(cause))


def _picklable(error: BaseException) -> BaseException:
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # noqa: BLE001 - the worker boundary: any failure to pickle means the same
        logger.debug("%s does not pickle", type(error).__name__)
    return WalpyError(f"{type(error).__name__}: {error}")
