"""Where an agent listens: a socket in the user's own directory, and a lock that lets one agent have it."""

import contextlib
import fcntl
import os
import socket

from walpy import client
from walpy.agent.start import LOCK_EXTENSION

BACKLOG = 64


class Listener:
    """The socket of a running agent. Raises BlockingIOError when another agent has it, OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = os.open(path + LOCK_EXTENSION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def listen(self) -> None:
        """Appear at the path, in the place of what a killed agent left there."""
        temporary = f"{self.path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        self.socket.bind(temporary)
        self.socket.listen(BACKLOG)
        self._inode = os.lstat(temporary).st_ino
        os.rename(temporary, self.path)

    def is_in_place(self) -> bool:
        """Whether clients still find it."""
        try:
            return os.lstat(self.path).st_ino == self._inode
        except OSError:
            return False

    def leave(self) -> None:
        """Let the next agent come: no further client is taken."""
        if self.is_in_place():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.socket.close()
        os.close(self._lock)


def sockets() -> list[str]:
    """Paths of all sockets of this user's agents, those of dead ones included."""
    directory = client.runtime_directory()
    try:
        if not client.is_private(directory):
            return []
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(os.path.join(directory, name) for name in names if "." not in name)
