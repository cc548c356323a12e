"""Signals: SIGTERM, SIGINT and SIGHUP end every command within two seconds, whatever a call hangs in."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from walpy.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 1.5  # for clean-up in the main thread, before a watcher ends the process

# Temporary files to remove when the process ends before whoever made them could.
unfinished_files: set[str] = set()

_first: list[int] = []  # number of the first signal; later ones must not disturb the clean-up that it started
_deferring: list[None] = []  # one for each block of deferred() that runs
_pending: list[int] = []  # number of a signal that came meanwhile
_committed: list[None] = []  # one for each block of committing() that succeeded


def catch(exit_code: Callable[[int], int]) -> None:
    """Make the first of SIGNALS raise Interrupted in the main thread. Call once, in the main thread.

    When the process still runs GRACE_SECONDS later, because the main thread hangs in a call or some library took the
    exception for an error to retry, a watcher thread removes unfinished_files and ends it with exit_code(number).
    A signal that the parent told us to ignore (nohup) stays ignored.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    threading.Thread(target=_watch, args=(reader, exit_code), name="signals", daemon=True).start()


def release() -> None:
    """Leave SIGNALS to the caller, who gives them handlers of its own: they no longer end this process in time."""
    signal.set_wakeup_fd(-1)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Make a signal that comes within the block raise Interrupted at its end: for short steps that must stay whole."""
    _deferring.append(None)
    try:
        yield
    finally:
        _deferring.pop()
        if _pending and not _deferring:
            raise _interrupted(_pending.pop())


@contextlib.contextmanager
def committing() -> Iterator[None]:
    """Hold a signal back as deferred() does, and forget it, with all later ones, when the block succeeds.

    For the one step that makes the whole work count: what follows it closes and reports, and must not be told as a
    failure. A signal that comes while the step hangs still ends the process after GRACE_SECONDS.
    """
    with deferred():
        yield
        _committed.append(None)
        _pending.clear()


def remove_unfinished_files() -> None:
    """Remove what unfinished_files names."""
    while unfinished_files:
        with contextlib.suppress(OSError):  # the process is ending: the file's next writer takes it over
            os.unlink(unfinished_files.pop())


def release_shared_resources() -> None:
    """Remove what multiprocessing keeps outside of the process: the folder of its sockets, semaphores.

    It would do so itself at an orderly end, which os._exit is not.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_finalizers()


def reason(number: int) -> str:
    """What an Interrupted says."""
    return f"interrupted by {signal.Signals(number).name}"


def die_by(number: int) -> None:
    """End this process as if it had never caught the signal. Call in the main thread."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _raise(number: int, _frame: FrameType | None) -> None:
    if _first or _committed:
        return
    _first.append(number)
    if _deferring:
        _pending.append(number)
    else:
        raise _interrupted(number)


def _interrupted(number: int) -> Interrupted:
    return Interrupted(reason(number), "", number)


def _watch(reader: int, exit_code: Callable[[int], int]) -> None:
    number = 0
    while number not in SIGNALS:  # the pipe hears of every signal that Python handles
        number = os.read(reader, 1)[0]
    threading.Event().wait(GRACE_SECONDS)
    if _committed:
        return
    remove_unfinished_files()
    release_shared_resources()
    os._exit(exit_code(number))
