"""Chaos: a thread that kills the walpy processes of one cluster at random moments."""

import contextlib
import os
import random
import signal
import threading
from pathlib import Path
from typing import Self

from tests.integration.faults.commands import commandline


class Chaos:
    """A context manager that kills processes which run one of some commands in a data directory.

    Each is let live for a random time of at most longest seconds, most of them for less than a tenth of that, so that
    those which end soon are hit too; and spared with a chance of mercy. kills: how many were hit; at most of them are
    killed.
    """

    def __init__(
        self,
        data_directory: Path,
        commands: tuple[str, ...],
        *,
        seed: int,
        longest: float,
        mercy: float = 0.0,
        most: int = 1000,
    ) -> None:
        self.kills = 0
        self._data_directory = data_directory
        self._commands = commands
        self._chance = random.Random(seed)
        self._longest = longest
        self._mercy = mercy
        self._most = most
        self._ended = threading.Event()
        self._spared: set[int] = set()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.005) and self.kills < self._most:
            for pid in self._victims():
                if self._chance.random() < self._mercy:
                    self._spared.add(pid)
                    continue
                self._ended.wait(self._longest * self._chance.random() ** 4)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1

    def _victims(self) -> list[int]:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if pid not in self._spared and self._is_victim(pid)]

    def _is_victim(self, pid: int) -> bool:
        words = commandline(pid)
        if "python" not in "".join(words[:1]) or not any(command in words for command in self._commands):
            return False
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self._data_directory
        except OSError:
            return False
