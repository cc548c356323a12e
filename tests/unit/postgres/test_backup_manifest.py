"""A server's manifest, and files that are not as it says."""

import hashlib

import google_crc32c
import pytest

from walpy.errors import DataCorrupt
from walpy.postgres.backup_manifest import Checksum, ManifestCheck, ReceivedFile, WalRange, check_ranges
from walpy.postgres.lsn import Lsn

SYSTEM = 7712332567898016998
CONTENTS = {"PG_VERSION": b"17\n", "base/1/112": bytes(8192), "empty": b"", 'quo"te\\': b"q", "caf\udce9": b"latin"}


def file_line(name: str, content: bytes) -> str:
    """As PostgreSQL writes it: the checksum's bytes as they lie in memory."""
    checksum = google_crc32c.value(content).to_bytes(4, "little").hex()
    raw = name.encode("utf-8", "surrogateescape")
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    path = f'"Path": "{escaped}"' if name.isascii() else f'"Encoded-Path": "{raw.hex()}"'
    return (
        f'{{ {path}, "Size": {len(content)}, "Last-Modified": "2026-11-26 04:29:18 GMT", '
        f'"Checksum-Algorithm": "CRC32C", "Checksum": "{checksum}" }}'
    )


def manifest(contents: dict[str, bytes] = CONTENTS, *, version: int = 2, system: int = SYSTEM) -> bytes:
    head = f'{{ "PostgreSQL-Backup-Manifest-Version": {version},\n'
    head += f'"System-Identifier": {system},\n' if version == 2 else ""
    files = ",\n".join(file_line(name, content) for name, content in contents.items())
    ranges = '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "1/2000120" }'
    text = f'{head}"Files": [\n{files}\n],\n"WAL-Ranges": [\n{ranges}\n],\n'.encode()
    return text + b'"Manifest-Checksum": "%b"}\n' % hashlib.sha256(text).hexdigest().encode()


def received() -> dict[str, ReceivedFile]:
    files = {}
    for name, content in CONTENTS.items():
        checksum = Checksum()
        for start in range(0, len(content), 1000):
            checksum.update(memoryview(content)[start : start + 1000])
        files[name] = ReceivedFile(len(content), checksum.value)
    return files


def check(text: bytes, files: dict[str, ReceivedFile] | None = None, size: int = 32768) -> list[WalRange]:
    chunks = [memoryview(text)[start : start + size] for start in range(0, len(text), size)]
    return ManifestCheck(received() if files is None else files).run(chunks, SYSTEM)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [1, 100, 32768])
def test_what_came_as_it_should(version: int, size: int) -> None:
    assert check(manifest(version=version), size=size) == [WalRange(1, Lsn(0x2000028), Lsn(0x102000120))]


def test_a_file_that_was_not_sent() -> None:
    files = received()
    del files["empty"]
    with pytest.raises(DataCorrupt, match="manifest has 'empty', which it did not send"):
        check(manifest(), files)


def test_files_that_the_manifest_lacks() -> None:
    files = {**received(), "more": ReceivedFile(1, 2)}
    with pytest.raises(DataCorrupt, match="the server sent 'more', which its manifest lacks"):
        check(manifest(), files)
    files = {**received(), "more": ReceivedFile(1, 2), "most": ReceivedFile(1, 2)}
    with pytest.raises(DataCorrupt, match="sent 'more' and 1 more, which its manifest lacks"):
        check(manifest(), files)


def test_another_size() -> None:
    files = {**received(), "empty": ReceivedFile(1, 0)}
    with pytest.raises(DataCorrupt, match="'empty' came with 1 bytes, the server's manifest says 0"):
        check(manifest(), files)


def test_other_content() -> None:
    files = {**received(), "empty": ReceivedFile(0, 1)}
    with pytest.raises(DataCorrupt, match="'empty' came with other content"):
        check(manifest(), files)


def test_a_checksum_of_another_kind_proves_nothing() -> None:
    with pytest.raises(DataCorrupt, match="came with other content"):
        check(manifest().replace(b"CRC32C", b"SHA224"))


def test_another_cluster() -> None:
    with pytest.raises(DataCorrupt, match="manifest is of cluster 5"):
        check(manifest(system=5))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        manifest()[:-1],
        manifest()[:-80],
        manifest().replace(b"2000028", b"2000029"),
        manifest().replace(b'"Timeline"', b'"Timelien"'),
        manifest().replace(b"04:29:18", b"04:29:19", 1),
        manifest() + b"\n",
        manifest().replace(b'"Files": [', b'"Files": {'),
        manifest().replace(b'"Size": 3,', b'"Size": 3'),
        bytes(2 << 20),
    ],
)
def test_a_damaged_manifest(text: bytes) -> None:
    with pytest.raises(DataCorrupt, match="the manifest that the server sent is damaged"):
        check(text)


def test_its_wal_is_the_backup_s() -> None:
    start, end = Lsn(0x2000028), Lsn(0x102000120)
    check_ranges([WalRange(1, start, end)], 1, start, end)
    for ranges in ([], [WalRange(2, start, end)], [WalRange(1, start, Lsn(end + 1))], [WalRange(1, start, end)] * 2):
        with pytest.raises(DataCorrupt, match="the server's manifest needs WAL"):
            check_ranges(ranges, 1, start, end)
