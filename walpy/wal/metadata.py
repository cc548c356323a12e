"""WAL metadata (WALG_UPLOAD_WAL_METADATA): JSON beside the WAL files that tells when each was made.

Source: WAL-G's objects `wal_005/<name>.json` and `wal_005/<first 23 digits>.json`; plain JSON, never encrypted.
"""

import contextlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING

from walpy import layout
from walpy.errors import ConfigError, WalpyError
from walpy.wal.segment import is_segment_name
from walpy.wal.status import MARKER_FOLDER, replace_file

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.config import Config

KEY = "WALG_UPLOAD_WAL_METADATA"
LEVELS = ("BULK", "INDIVIDUAL", "NOMETADATA")

logger = logging.getLogger(__name__)


def metadata_level(config: "Config") -> str:
    """Which metadata is wanted: one of LEVELS. Raises ConfigError."""
    level = config.text(KEY, "NOMETADATA")
    if level not in LEVELS:
        raise ConfigError(
            f"got incorrect Wal metadata  level: '{level}', expected one of: '[{' '.join(LEVELS)}]'",
            f"Correct {KEY} ({config.origin(KEY)}).",
        )
    return level


def completes_bulk(name: str) -> bool:
    """Whether a WAL file is the last of the sixteen whose metadata share an object."""
    return is_segment_name(name) and name.endswith("F")


class WalMetadata:
    """Stores the metadata of WAL files as the level says. state: folder of local state, where BULK entries gather.

    Without one, BULK stores each file's metadata at once.
    """

    def __init__(self, archive: "Archive", level: str, state: str | None) -> None:
        self._archive = archive
        self._bulk = level == "BULK" and state is not None
        self._folder = os.path.join(state or "", MARKER_FOLDER)
        self.wanted = level != "NOMETADATA"

    def completes(self, name: str) -> bool:
        """Whether storing the metadata of name stores those that gathered before it."""
        return self._bulk and completes_bulk(name)

    def store(self, path: str) -> None:
        """Store the metadata of the local WAL file at path, or add it to those that wait for their object."""
        if not self.wanted:
            return
        try:
            modified_ns = os.stat(path).st_mtime_ns
        except OSError as error:
            raise WalpyError(f"cannot keep the metadata of {path!r}: {error.strerror}") from error
        self.store_of(os.path.basename(path), modified_ns)

    def store_of(self, name: str, modified_ns: int) -> None:
        """The same for a file that is not there any more."""
        if not self.wanted:
            return
        try:
            entry = {name: {"created_time": _rfc3339(modified_ns), "date_fmt": layout.DATE_FORMAT}}
            if not self._bulk:
                self._archive.put_json(f"{layout.WAL_FOLDER}/{name}.json", entry)
                return
            os.makedirs(self._folder, exist_ok=True)
            replace_file(os.path.join(self._folder, f"{name}.json"), json.dumps(entry, separators=(",", ":")).encode())
        except OSError as error:
            raise WalpyError(f"cannot keep the metadata of {name!r}: {error}") from error
        if completes_bulk(name):
            self._store_gathered(name[:-1])

    def _store_gathered(self, group: str) -> None:
        names = [name for name in os.listdir(self._folder) if name.startswith(group) and name.endswith(".json")]
        paths = [os.path.join(self._folder, name) for name in names]
        entries: dict[str, object] = {}
        for path in paths:
            entries |= _read_entries(path)
        self._archive.put_json(f"{layout.WAL_FOLDER}/{group}.json", dict(sorted(entries.items())))
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _read_entries(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            entries = json.loads(file.read())
    except (OSError, ValueError) as error:
        logger.warning("WAL metadata %s is left out: %s", path, error)
        return {}
    return entries if isinstance(entries, dict) else {}


def _rfc3339(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"
