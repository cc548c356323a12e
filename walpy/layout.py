"""Names of stored objects, relative to the storage's prefix: pure functions.

Names are WAL-G's (folders `wal_005`, `basebackups_005` and `catchup_005`), except those below WALPY_FOLDER, which WAL-G
ignores. Where a function takes a backup, a bare name is that of a base backup; a catchup is named with its folder in
front, as catchup() gives it.
"""

WAL_FOLDER = "wal_005"
BACKUP_FOLDER = "basebackups_005"
CATCHUP_FOLDER = "catchup_005"
WALPY_FOLDER = "walpy_005"  # what walpy adds; WAL-G neither lists nor deletes it, but for `delete everything`

SENTINEL_SUFFIX = "_backup_stop_sentinel.json"
TAR_PARTITIONS = "tar_partitions"
BACKUP_PREFIX = "base_"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # a constant in WAL-G's JSON; describes no field
IDENTITY = f"{WALPY_FOLDER}/identity.json"
ADMITTED_FOLDER = f"{WALPY_FOLDER}/identity"


def is_own(name: str) -> bool:
    """Whether an object is walpy's, of no meaning to WAL-G."""
    return name.partition("/")[0] == WALPY_FOLDER


def with_extension(name: str, extension: str) -> str:
    """Append a codec's extension; the empty extension (codec none) leaves the name as it is."""
    return f"{name}.{extension}" if extension else name


def wal_object(file_name: str, extension: str) -> str:
    """Object that holds a WAL file: `wal_005/000000010000000000000001.lz4`."""
    return with_extension(f"{WAL_FOLDER}/{file_name}", extension)


def catchup(name: str) -> str:
    """A catchup as the functions here take it: `catchup_005/base_000000010000000000000005`."""
    return f"{CATCHUP_FOLDER}/{name}"


def bare_name(backup: str) -> str:
    """A backup as people and WAL-G name it: without its folder."""
    return backup.rpartition("/")[2]


def sentinel(backup: str) -> str:
    """Object whose presence makes a backup exist."""
    return f"{backup_folder(backup)}{SENTINEL_SUFFIX}"


def backup_name_of(sentinel_name: str) -> str | None:
    """Backup that a sentinel object commits; None when the object is no sentinel. Accepts a bare or full name."""
    base = sentinel_name.rpartition("/")[2]
    return base.removesuffix(SENTINEL_SUFFIX) if base.endswith(SENTINEL_SUFFIX) else None


def backup_folder(backup: str) -> str:
    """Folder of everything a backup stores beside its sentinel; no slash at the end."""
    return backup if "/" in backup else f"{BACKUP_FOLDER}/{backup}"


def metadata(backup: str) -> str:
    """Object of a backup's metadata.json."""
    return f"{backup_folder(backup)}/metadata.json"


def files_metadata(backup: str) -> str:
    """Object of a backup's files_metadata.json."""
    return f"{backup_folder(backup)}/files_metadata.json"


def tar_folder(backup: str) -> str:
    """Folder of a backup's tar partitions; no slash at the end."""
    return f"{backup_folder(backup)}/{TAR_PARTITIONS}"


def tar_partition(backup: str, tar_name: str, extension: str) -> str:
    """Object of one tar: tar_name is `part_001.tar`, `pg_control.tar` or `backup_label.tar`."""
    return with_extension(f"{tar_folder(backup)}/{tar_name}", extension)


def admitted_identity(system_identifier: int) -> str:
    """Object that admits one more cluster (after pg_upgrade) to this archive."""
    return f"{ADMITTED_FOLDER}/{system_identifier}.json"
