"""Whose WAL an archive holds: the system identifier of the cluster, checked before anything is pushed.

`walpy_005/identity.json` names the cluster that pushed first; `walpy_005/identity/<system identifier>.json` admits a
further one (the same cluster after pg_upgrade). What was found is remembered beside the local markers, so that a push
costs no request for it.
"""

import json
import logging
import os
import time
import zlib
from typing import TYPE_CHECKING

import walpy
from walpy import layout
from walpy.config import PRIMARY_STORAGE
from walpy.errors import (
    AccessDenied,
    ConfigError,
    DataCorrupt,
    InvalidWal,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageUnavailable,
)
from walpy.wal.status import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from walpy.archive import Archive
    from walpy.config import Config

CHECK_KEY = "WALPY_SYSTEM_ID_CHECK"
CHECK_MODES = ("strict", "warn")
STATE_FOLDER = "walpy"  # below the state folder

logger = logging.getLogger(__name__)


def is_check_strict(config: "Config") -> bool:
    """Whether a cluster that the archive does not belong to is refused, or only warned of. Raises ConfigError."""
    mode = config.text(CHECK_KEY, CHECK_MODES[0])
    if mode not in CHECK_MODES:
        raise config.invalid(CHECK_KEY, f"expected one of {', '.join(CHECK_MODES)}")
    return mode == "strict"


def archive_url(config: "Config") -> str:
    """The archive's place as configured; known without opening the storage, and without credentials."""
    return "/".join(part for part in (config.prefix().rstrip("/"), config.storage_prefix().strip("/")) if part)


def _place(archive: "Archive") -> str:
    """What tells one archive from another: its place, and the failover storage that is written to, if it is one."""
    url, name = archive_url(archive.config), archive.storage_name
    return url if name == PRIMARY_STORAGE else f"{url}#{name}"


def check_identity(archive: "Archive", system_identifier: int, state: str | None) -> None:
    """Make sure that the archive belongs to a cluster; the first one to push makes it its own.

    state: folder of local state, where the answer is remembered; None: the archive is asked every time.
    Raises InvalidWal for a foreign cluster, unless WALPY_SYSTEM_ID_CHECK is `warn`.
    """
    strict = is_check_strict(archive.config)
    memory = _memory_path(archive, state)
    if _remembers(memory, archive, system_identifier):
        return
    try:
        owner = _foreign_owner(archive, system_identifier)
    except AccessDenied as error:
        # Credentials that can only write must go on working; create-only puts still protect what is archived.
        logger.warning("cannot check which cluster the archive belongs to: %s", error)
        return
    if owner is None:
        _remember(memory, archive, system_identifier)
        return
    mismatch = _mismatch(archive, system_identifier, owner)
    if strict:
        raise mismatch
    logger.warning("%s", mismatch)


def admit(archive: "Archive", system_identifier: int) -> None:
    """Let a further cluster push to this archive; doing it again changes nothing."""
    if not 0 < system_identifier < 1 << 64:
        raise ConfigError(f"not a system identifier: {system_identifier}", "pg_controldata shows a cluster's.")
    try:
        archive.put_json(layout.admitted_identity(system_identifier), _document(system_identifier), create_only=True)
    except ObjectExists:
        logger.info("the cluster with system identifier %d was admitted before", system_identifier)


def admit_everywhere(archives: "Sequence[Archive]", system_identifier: int) -> None:
    """As admit, in the archive of every storage; doing it again goes on where a storage could not be reached.

    Raises ConfigError; StorageError after the others, when a storage failed.
    """
    failures: dict[str, StorageError] = {}
    for archive in archives:
        try:
            admit(archive, system_identifier)
        except StorageError as error:
            failures[archive.storage_name] = error
    for name, failure in failures.items():
        if len(archives) == 1:
            raise failure
        raise StorageUnavailable(
            f"the cluster is not admitted in storage {', '.join(failures)}: {name}: {failure}",
            "Run it again when every storage can be reached; until then pushes of the cluster are refused there.",
        ) from failure


def take_identity(source: "Archive", target: "Archive") -> None:
    """Make the target, if it is nobody's yet, belong to the cluster of the source; and admit whom the source admits.

    Raises as check_identity when it is another cluster's: objects of two clusters have the same names.
    """
    owner = _owner(source)
    owner = _newest_backup_owner(source) if owner is None else owner
    if owner is None:
        return
    check_identity(target, owner, None)
    present = set(target.storage.list_names(layout.ADMITTED_FOLDER))
    for name in source.storage.list_names(layout.ADMITTED_FOLDER):
        if name not in present:
            target.put_bytes(name, source.get_bytes(name))


def _mismatch(archive: "Archive", system_identifier: int, owner: int) -> InvalidWal:
    return InvalidWal(
        f"the archive {archive_url(archive.config)} belongs to the cluster with system identifier {owner}, "
        f"this cluster has {system_identifier}",
        f"Give each cluster its own prefix. After pg_upgrade, admit it: walpy wal-admit {system_identifier}",
    )


def _foreign_owner(archive: "Archive", system_identifier: int) -> int | None:
    """System identifier of the cluster that owns the archive instead; None when ours may push."""
    owner = _owner(archive)
    if owner == system_identifier or _is_admitted(archive, system_identifier):
        return None
    if owner is not None:
        return owner
    owner = _newest_backup_owner(archive)
    if owner not in (None, system_identifier):
        return owner
    try:
        archive.put_json(layout.IDENTITY, _document(system_identifier), create_only=True)
    except ObjectExists:  # another cluster was first, a moment ago
        owner = _owner(archive)
        return owner if owner != system_identifier else None
    return None


def _owner(archive: "Archive") -> int | None:
    try:
        document = archive.get_json(layout.IDENTITY)
    except ObjectMissing:
        return None
    try:
        return int(document["system_identifier"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise DataCorrupt(f"object {layout.IDENTITY!r} does not name a cluster") from None


def _is_admitted(archive: "Archive", system_identifier: int) -> bool:
    try:
        archive.storage.stat(layout.admitted_identity(system_identifier))
    except ObjectMissing:
        return False
    return True


def _newest_backup_owner(archive: "Archive") -> int | None:
    """System identifier in the newest backup's sentinel: walpy may come to an archive that WAL-G has filled."""
    objects = archive.storage.list_folder(layout.BACKUP_FOLDER).objects
    sentinels = [item for item in objects if layout.backup_name_of(item.name)]
    if not sentinels:
        return None
    newest = max(sentinels, key=lambda item: (item.modified_ns, item.name))
    try:
        document = archive.get_json(newest.name)
    except ObjectMissing:  # deleted meanwhile
        return None
    found = document.get("SystemIdentifier") if isinstance(document, dict) else None
    return found if isinstance(found, int) else None


def _document(system_identifier: int) -> dict[str, str]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # A string: many JSON readers lose the last digits of 64-bit numbers.
    return {"system_identifier": str(system_identifier), "created": created, "walpy": walpy.__version__}


def _memory_path(archive: "Archive", state: str | None) -> str | None:
    if state is None:
        return None
    key = zlib.crc32(_place(archive).encode())  # the document holds the whole URL
    return os.path.join(state, STATE_FOLDER, f"identity-{key:08x}.json")


def _memory(archive: "Archive", system_identifier: int) -> dict[str, str]:
    return {"archive": _place(archive), "system_identifier": str(system_identifier)}


def _remembers(path: str | None, archive: "Archive", system_identifier: int) -> bool:
    if path is None:
        return False
    try:
        with open(path, "rb") as file:
            return bool(json.loads(file.read()) == _memory(archive, system_identifier))
    except (OSError, ValueError):
        return False


def _remember(path: str | None, archive: "Archive", system_identifier: int) -> None:
    if path is None:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_file(path, json.dumps(_memory(archive, system_identifier)).encode())
    except OSError as error:
        logger.warning("cannot remember the archive's identity: %s", error)
