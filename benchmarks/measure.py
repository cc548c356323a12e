"""Takes samples: runs an action, and tells what it and everything around it used."""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.machine import (
    command_seconds,
    descendants,
    is_busy,
    machine_seconds,
    pss_bytes,
    reap,
    text,
    tree_seconds,
    usage,
)
from benchmarks.model import Command, Sample
from benchmarks.services import Services

PR_SET_CHILD_SUBREAPER = 36
MEMORY_INTERVAL_SECONDS = 0.01
COMMAND_SECONDS = 1800
WINDOW_SECONDS = 0.2
END_SECONDS = 5  # before what does not end by itself is killed


class CommandFailed(Exception):
    """A measured command did not end with 0."""


def adopt_orphans() -> None:
    """Make processes that outlive their parents children of this one, so that their CPU time is counted."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def flush(directory: Path) -> None:
    """Write everything of a directory's file system to the disk (syncfs)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def run(command: Command, expected: int = 0) -> str:
    """Run a command to its end; its output. Raises CommandFailed with the output's end when it exits otherwise."""
    with tempfile.TemporaryFile() as output:  # a pipe would be kept open by what a command leaves behind
        process = subprocess.Popen(
            command.arguments,
            env=dict(command.environment),
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        status = wait(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status != expected:
        raise CommandFailed(f"{' '.join(command.arguments)}: exit {status}\n{text[-2000:]}")
    return text


def wait(process: "subprocess.Popen[bytes]") -> int:
    """Exit status of a process, noticed at once: waiting with a time-out through Popen polls. Kills one that hangs."""
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], COMMAND_SECONDS)[0]:
            process.kill()
        return process.wait()
    finally:
        os.close(descriptor)


class Patience:
    """Waits for a quiet machine, as long as its windows of WINDOW_SECONDS last."""

    def __init__(self, windows: int) -> None:
        self.windows = windows

    def wait(self) -> None:
        """Return when everything on the machine together uses little CPU time, or when there is no patience left.

        A machine that is quiet at once costs no patience.
        """
        while self.windows:
            before = machine_seconds(text("/proc/stat"))
            time.sleep(WINDOW_SECONDS)
            if not is_busy(machine_seconds(text("/proc/stat")) - before, WINDOW_SECONDS):
                return
            self.windows -= 1


def take(action: Callable[[], None], services: Services, flushed: Path | None) -> Sample:
    """Time one action. flushed: a directory whose file system is flushed within the clock."""
    reap()
    requests = services.requests()
    before, servers = usage(services.roots()), tree_seconds(services.roots())
    started = time.perf_counter()
    action()
    if flushed:
        flush(flushed)
    wall = time.perf_counter() - started
    reap()
    after, servers = usage(services.roots()), tree_seconds(services.roots()) - servers
    cpu = command_seconds(before, after)
    other = after.machine - before.machine - cpu - servers - (after.harness - before.harness)
    return Sample(wall, cpu, servers, max(0.0, other), services.requests_since(requests))


def end_leftovers(services: Services, temporary: Path) -> None:
    """End all processes below this one but the servers: resident agents, and what fetches ahead.

    temporary: TMPDIR of the commands, where agents have left word of their start; it is emptied.
    """
    limit = time.monotonic() + END_SECONDS
    while pids := alive(services):
        number = signal.SIGTERM if time.monotonic() < limit else signal.SIGKILL
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(0.05)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()


def alive(services: Services) -> list[int]:
    """Processes below this one, servers apart, that have not ended."""
    reap()
    return descendants(os.getpid(), services.roots())


@contextlib.contextmanager
def repeating(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Within: look is called every so many seconds, in a thread."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(seconds):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


@contextlib.contextmanager
def peak_memory(services: Services) -> Iterator[list[int]]:
    """Within: the only item is the highest PSS so far, in bytes, of all processes below this one, servers apart."""
    peak = [0]

    def look() -> None:
        peak[0] = max(peak[0], pss_bytes(descendants(os.getpid(), services.roots())))

    with repeating(look, MEMORY_INTERVAL_SECONDS):
        yield peak
