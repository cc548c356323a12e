"""When and how a command that did the work itself starts an agent for the next ones."""

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

from walpy import client
from walpy.detached import start_detached

if TYPE_CHECKING:
    from collections.abc import Mapping

    from walpy.config import Config

KEY = "WALPY_AGENT"
MODES = ("auto", "off")
LOCK_EXTENSION = ".lock"  # of the file beside the socket whose lock a running agent holds
RETRY_SECONDS = 10.0  # after a start, whatever became of it, before anybody tries another
LONGEST_PATH = 95  # bytes; the kernel takes 107 for a socket, and the agent appends its process number
SERVER_NAMES = ("postgres", "postmaster")

logger = logging.getLogger(__name__)


def is_agent_wanted(config: "Config") -> bool:
    """Whether the settings allow an agent. Raises ConfigError."""
    mode = config.text(KEY)
    if mode not in MODES:
        raise config.invalid(KEY, f"expected one of {', '.join(MODES)}")
    return mode == "auto"


def start_agent(path: str, config: "Config", environ: "Mapping[str, str]") -> None:
    """Start the agent of a socket, if there is a reason to; a failure is only logged, as the work is done already.

    path: empty when none is wanted. Only in a data directory: there PostgreSQL calls. Not where the server is process 1
    of its container: it would inherit the agent as a child that it does not know.
    """
    try:
        if path and os.path.exists("PG_VERSION") and not _is_server_first_process() and _prepare(path):
            start_detached(
                "walpy.agent.resident", [path, str(server_process()), *config.child_arguments()], config, environ
            )
    except OSError as error:
        logger.debug("no agent: %s", error)


def server_process() -> int:
    """Process of the server whose data directory the working directory is; 0 when none runs."""
    try:
        with open("postmaster.pid", "rb") as file:
            return abs(int(file.readline()))  # negative in single-user mode
    except (OSError, ValueError):
        return 0


def _prepare(path: str) -> bool:
    """Make the directory and the lock file of a socket; whether to start an agent now: nobody did a moment ago.

    Raises OSError, also for a directory that is not the user's own.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(f"{path!r} is too long for a socket: choose a shorter TMPDIR")
    directory = os.path.dirname(path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    if not client.is_private(directory):
        raise PermissionError(f"{directory} is open to others")
    lock = path + LOCK_EXTENSION
    try:
        os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if abs(time.time() - os.stat(lock).st_mtime) < RETRY_SECONDS:
            return False
        os.utime(lock)
    return True


def _is_server_first_process() -> bool:
    with open("/proc/1/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip() in SERVER_NAMES
