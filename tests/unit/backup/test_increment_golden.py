"""Increments that WAL-G stored, made again by walpy from the same files: byte for byte."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.fixtures.golden import RICH, golden_archive
from tests.unit.backup.test_mark import D1, D2, F1
from tests.unit.backup.test_partition_increments import known, packed_since
from walpy.archive import Archive, open_archive
from walpy.backup.catalog import read_sentinel
from walpy.backup.increment import HEAD_SIZE, NUMBER_SIZE, parse_head, parse_numbers
from walpy.config import Config
from walpy.layout import tar_folder

PAGE = 8192


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = golden_archive(RICH).copy(tmp_path_factory.mktemp("golden") / "copy") / "archive"
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


def members(archive: Archive, backup: str) -> dict[str, bytes]:
    """Contents of the files in a backup's tars."""
    found = {}
    for item in archive.storage.list(tar_folder(backup)):
        with archive.open_object(item.name) as chunks:
            data = b"".join(bytes(chunk) for chunk in chunks)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found |= {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    return found


def applied(content: bytes, increment: bytes) -> bytes:
    head = parse_head(increment[:HEAD_SIZE])
    start = HEAD_SIZE + NUMBER_SIZE * head.page_count
    restored = bytearray(content.ljust(head.file_size, b"\0")[: head.file_size])
    for index, number in enumerate(parse_numbers(increment[HEAD_SIZE:start])):
        restored[number * PAGE : (number + 1) * PAGE] = increment[start + index * PAGE :][:PAGE]
    return bytes(restored)


def test_what_walg_stored(archive: Archive, tmp_path: Path) -> None:
    state = members(archive, F1)
    compared = 0
    for backup in (D1, D2):
        since = read_sentinel(archive, backup).delta_lsn
        assert since is not None
        for name, stored in members(archive, backup).items():
            if not stored.startswith(b"wi1U"):
                state[name] = stored
                continue
            state[name] = applied(state[name], stored)
            path = tmp_path / os.path.basename(name)
            path.write_bytes(state[name])
            again = packed_since(since, [known(path)], tmp_path / f"{backup}-{path.name}")
            if len(stored) < len(state[name]):
                assert again == {f"base/5/{path.name}": stored}
                compared += 1
            else:
                assert again == {f"base/5/{path.name}": state[name]}
    assert compared > 3
