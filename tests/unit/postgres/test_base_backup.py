"""The command that starts a base backup, and what announces its archives."""

import pytest

from walpy.errors import DataCorrupt, PostgresError
from walpy.postgres.base_backup import BaseBackupOptions, _announced, base_backup_command


def test_the_command_up_to_version_14() -> None:
    assert base_backup_command(BaseBackupOptions("it's"), 14_00_05) == (
        "BASE_BACKUP LABEL 'it''s' FAST TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C' "
        "NOWAIT NOVERIFY_CHECKSUMS"
    )
    options = BaseBackupOptions("x", max_rate=500, verify_checksums=True, waits_for_archive=True)
    assert base_backup_command(options, 13_00_00) == (
        "BASE_BACKUP LABEL 'x' FAST TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C' MAX_RATE 500"
    )


def test_the_command_from_version_15_on() -> None:
    assert base_backup_command(BaseBackupOptions("it's"), 15_00_00) == (
        "BASE_BACKUP (LABEL 'it''s', CHECKPOINT 'fast', WAL false, TABLESPACE_MAP true, MANIFEST 'yes', "
        "MANIFEST_CHECKSUMS 'CRC32C', WAIT false, VERIFY_CHECKSUMS false)"
    )


@pytest.mark.parametrize(("rate", "told"), [(1, 32), (32, 32), (1 << 20, 1 << 20), (1 << 30, 1 << 20)])
def test_a_rate_is_one_that_the_server_takes(rate: int, told: int) -> None:
    assert f"MAX_RATE {told}," in base_backup_command(BaseBackupOptions("x", max_rate=rate), 18_00_00)


def test_a_version_without_manifests_is_refused() -> None:
    with pytest.raises(PostgresError, match="version 12"):
        base_backup_command(BaseBackupOptions("x"), 12_00_09)


@pytest.mark.parametrize(
    ("message", "tablespace", "is_manifest"),
    [(b"nbase.tar\0\0", None, False), (b"n16384.tar\0/space\0", 16384, False), (b"m", None, True)],
)
def test_what_is_announced(message: bytes, tablespace: int | None, is_manifest: bool) -> None:
    archive = _announced(memoryview(message))
    assert (archive.tablespace, archive.is_manifest) == (tablespace, is_manifest)


@pytest.mark.parametrize("message", [b"", b"d", b"nother", b"n.tar\0\0", b"n12", b"p" + bytes(8), b"nx.tar\0\0"])
def test_what_is_no_archive(message: bytes) -> None:
    with pytest.raises(DataCorrupt, match="which is no archive"):
        _announced(memoryview(message))
