"""A new file system for each sample: on one where many files were removed, making others may take twenty times as long.

The harness is not root, so it asks the process that started it, which is: over a socket, one request at a time. The
file system is ext4 in a sparse file of the work directory, through a loop device.
"""

import contextlib
import os
import socket
import subprocess
from pathlib import Path

SIZE = 8 << 30  # bytes, as far as they are used
VARIABLE = "BENCH_FRESH"  # number of the harness's end of the socket
REQUEST = b"make"
REPLY_SIZE = 4096
MKFS = ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")  # else it is written in the background


class Maker:
    """Root's side: makes the file system anew at each request, for a user, and removes it at the end."""

    def __init__(self, work: Path, user: int, group: int) -> None:
        self._image, self._place = work / "fresh.img", work / "fresh"
        self._owner = user, group
        self._own, self.other = socket.socketpair()

    def serve(self) -> None:
        """Answer requests until the harness ends."""
        while self._own.recv(len(REQUEST)):
            try:
                self._make()
                answer = str(self._place)
            except (OSError, subprocess.CalledProcessError) as error:
                answer = f"!{error}"
            self._own.sendall(answer.encode()[:REPLY_SIZE])

    def close(self) -> None:
        """Remove the file system."""
        self._own.close()
        self._remove()

    def _make(self) -> None:
        self._remove()
        self._place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([*MKFS, str(self._image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self._place)], check=True)
        os.chown(self._place, *self._owner)

    def _remove(self) -> None:
        if os.path.ismount(self._place):
            subprocess.run(["umount", str(self._place)], check=True)
        with contextlib.suppress(FileNotFoundError):
            self._place.rmdir()
        self._image.unlink(missing_ok=True)


def make_fresh() -> Path:
    """A directory on a new, empty file system, which takes the place of the one before. Raises LookupError."""
    number = os.environ.get(VARIABLE)
    if number is None:
        raise LookupError("only root can make a file system for each sample")
    with socket.socket(fileno=os.dup(int(number))) as connection:
        connection.sendall(REQUEST)
        answer = connection.recv(REPLY_SIZE).decode()
    if not answer.startswith("/"):
        raise LookupError(f"no new file system: {answer[1:]}")
    return Path(answer)
