"""A file descriptor that several threads use; whoever is done last closes it."""

import os
import threading


class SharedFile:
    """An open file with a count of its users, one at first. Safe for threads."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()
        self._users = 1

    @property
    def is_open(self) -> bool:
        """Whether somebody still uses it."""
        return self._users > 0

    def hold(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """One user less; the last one closes the file. Raises what finish() raises."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        try:
            self.finish()
        finally:
            os.close(self.descriptor)

    def close(self) -> None:
        """Close it for all users, after a failure."""
        with self._lock:
            if self._users > 0:
                self._users = 0
                os.close(self.descriptor)

    def finish(self) -> None:
        """What is due before the last user closes the file."""
