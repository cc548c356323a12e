"""Storages: those of a configuration with failover ones, and which of them are alive.

What is known of a storage comes from its operations, from checks, and from other commands by the status file. It is
relied on for WALG_FAILOVER_STORAGES_CACHE_LIFETIME; then the storage is checked anew, so that one that died, and one
that came back, are found. An operation that failed is followed by a check: the next command need not fail likewise.
"""

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from walpy.config import Setting
from walpy.config_failover import status_key, storage_configs
from walpy.errors import ObjectExists, ObjectMissing, StorageError, StorageUnavailable, WalpyError
from walpy.storage import open_storage
from walpy.storage.aliveness import Limits, Status
from walpy.storage.base import READ_SIZE
from walpy.storage.status_file import merge_statuses, read_statuses, status_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from walpy.config import Config
    from walpy.storage.base import Storage

CHECK_KEY = "WALG_FAILOVER_STORAGES_CHECK"
TIMEOUT_KEY = "WALG_FAILOVER_STORAGES_CHECK_TIMEOUT"
DEADLINE_KEY = "WALPY_STORAGE_DEADLINE"
CHECK_OBJECT = "wal-g_storage_check"  # WAL-G's name of what a check writes
FLUSH_NS = 300 * 10**9  # success is noted in the status file so often

logger = logging.getLogger(__name__)


class Storages:
    """The storages of a configuration, each opened when it is needed. Safe for threads. Raises ConfigError.

    check: `rw` when the command stores objects, else `ro`. Another storage can take over, so none is waited for longer
    than a check is, unless WALPY_STORAGE_DEADLINE says so.
    """

    def __init__(self, config: "Config", check: str) -> None:
        self.configs = {name: _impatient(config, own) for name, own in storage_configs(config).items()}
        self._is_writing = check == "rw"
        self._is_checked = config.boolean(CHECK_KEY) if config.is_set(CHECK_KEY) else True
        self._timeout = _timeout(config)
        self._check_size = config.size("WALG_FAILOVER_STORAGES_CHECK_SIZE")
        self._lifetime = config.seconds("WALG_FAILOVER_STORAGES_CACHE_LIFETIME")
        self._limits = Limits.from_config(config)
        self._path = status_path(check)
        self._keys = {name: status_key(name, own) for name, own in self.configs.items()}
        self._statuses: dict[str, Status] = {}
        self._stored_ns: dict[str, int] = {}  # how old the file's statuses are
        self._opened: dict[str, Storage] = {}
        self._lock = threading.Lock()  # of the dicts
        self._checking = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all, in the order in which they are preferred."""
        return tuple(self.configs)

    def storage(self, name: str) -> "Storage":
        """The storage of a name. Raises ConfigError."""
        with self._lock:
            if name not in self._opened:
                self._opened[name] = open_storage(self.configs[name])
            return self._opened[name]

    def close(self) -> None:
        """Release the connections of all."""
        for storage in self._opened.values():
            storage.close()

    # ---- which are alive

    def first_alive(self) -> str:
        """The storage to write to. Raises StorageUnavailable when none is alive, as a check right now says."""
        for name in self.names:
            if self.is_alive(name):
                return name
        for name in self.alive_now(self.names):
            return name
        raise StorageUnavailable(
            f"no alive storages ({', '.join(self.names)})", "The lines above tell why; each is checked again next time."
        )

    def is_alive(self, name: str) -> bool:
        """Whether a storage counts as alive; it, and what else is due, is checked when nothing recent is known."""
        if not self._is_checked:
            return True
        if not self._is_fresh(name):
            self._refresh()
        return self._status(name).is_alive(self._limits)

    def alive_now(self, names: "Collection[str]") -> list[str]:
        """Those of the storages that a check right now finds alive, in their order."""
        if not self._is_checked:
            return list(names)
        began_ns = time.time_ns()
        with self._checking:  # another thread may have checked them meanwhile
            self._check([name for name in names if self._status(name).updated_ns < began_ns])
        return [name for name in names if self._status(name).is_alive(self._limits)]

    def _status(self, name: str) -> Status:
        with self._lock:
            return self._statuses.get(name, Status())

    def _is_fresh(self, name: str) -> bool:
        return self._status(name).is_fresh(time.time_ns(), self._lifetime)

    def _refresh(self) -> None:
        """Take what other commands have found out, and check what they have not."""
        with self._checking:  # who waited here for another thread's check finds all fresh
            found = read_statuses(self._path)
            with self._lock:
                for name, key in self._keys.items():
                    status = found.get(key, Status())
                    self._stored_ns[name] = status.updated_ns
                    if status.updated_ns > self._statuses.get(name, Status()).updated_ns:
                        self._statuses[name] = status
            self._check([name for name in self.names if not self._is_fresh(name)])

    # ---- what operations tell

    def report(self, name: str, weight: float, error: BaseException | None = None, began_ns: int = 0) -> None:
        """Note how an operation on a storage ended; after a failure, judge the storage. began_ns: see time.time_ns().

        What is missing, or exists, is an answer, and so a success.
        """
        if not self._is_checked or (error is not None and not isinstance(error, StorageError)):
            return
        is_success = error is None or isinstance(error, ObjectMissing | ObjectExists)
        now = time.time_ns()
        with self._lock:
            before = self._statuses.get(name, Status())
            after = before.after_operation(self._limits, is_success, weight, now)
            self._statuses[name] = after
            is_due = now - self._stored_ns.get(name, 0) > FLUSH_NS
        if not is_success and before.updated_ns < max(began_ns, 1):
            self._judge(name, error)
        elif is_due or not is_success:
            self._store([name])

    def _judge(self, name: str, error: BaseException | None) -> None:
        """Find out whether a storage that failed is dead. One that did not answer for the whole of its deadline is."""
        with self._checking:
            if isinstance(error, StorageUnavailable):
                self._note({name: False})
            else:
                self._check([name])

    # ---- checks

    def _check(self, names: "Collection[str]") -> None:
        """Check storages, all at the same time; what has not answered in time is dead."""
        verdicts: dict[str, bool] = {}
        threads = [threading.Thread(target=self._try, args=(name, verdicts), daemon=True) for name in names]
        deadline = time.monotonic() + self._timeout
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for name in names:
            if name not in verdicts:
                logger.warning("storage %s has not answered for %g seconds: it counts as dead", name, self._timeout)
        if names:
            self._note({name: verdicts.get(name, False) for name in names})

    def _try(self, name: str, verdicts: dict[str, bool]) -> None:
        try:
            storage = self.storage(name)
            storage.list_folder("")
            if self._is_writing:
                storage.put(CHECK_OBJECT, _random_chunks(self._check_size))
                storage.delete([CHECK_OBJECT])
        except WalpyError as error:
            logger.warning("storage %s counts as dead: %s", name, error)
            verdicts[name] = False
        else:
            verdicts[name] = True

    def _note(self, verdicts: dict[str, bool]) -> None:
        now = time.time_ns()
        with self._lock:
            for name, is_alive in verdicts.items():
                self._statuses[name] = self._statuses.get(name, Status()).after_check(is_alive, now)
        self._store(verdicts)

    def _store(self, names: "Collection[str]") -> None:
        with self._lock:
            statuses = {self._keys[name]: self._statuses[name] for name in names}
            self._stored_ns.update((name, self._statuses[name].updated_ns) for name in names)
        merge_statuses(self._path, statuses)


def _impatient(config: "Config", own: "Config") -> "Config":
    if config.is_set(DEADLINE_KEY):
        return own
    return own.with_settings({DEADLINE_KEY: Setting(config.text(TIMEOUT_KEY), config.origin(TIMEOUT_KEY))})


def _timeout(config: "Config") -> float:
    seconds = config.seconds(TIMEOUT_KEY)
    if seconds <= 0:
        raise config.invalid(TIMEOUT_KEY, "must be positive")
    return seconds


def _random_chunks(size: int) -> "Iterator[bytes]":
    for start in range(0, size, READ_SIZE):
        yield os.urandom(min(READ_SIZE, size - start))
