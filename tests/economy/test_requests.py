"""How many requests each operation costs: counted on servers, asserted exactly."""

from collections import Counter

import pytest

from tests.economy.remote import S3, Remote
from tests.fixtures.cluster import Cluster
from tests.unit.wal.synthetic import FIRST, DataDirectory, segment
from walpy.errors import ObjectMissing
from walpy.wal.fetch import download_wal
from walpy.wal.prefetch import wal_prefetch
from walpy.wal.push import wal_push
from walpy.wal.segment import MIB, following_segment

SEGMENTS = [following_segment(FIRST, MIB, count) for count in range(8)]
CODECS = ["lz4", "zstd", "brotli", "none"]


@pytest.fixture
def known(remote: Remote, data: DataDirectory) -> Remote:
    """An archive that has its first segment, and whose owner is remembered."""
    wal_push(remote.archive(), data.add(SEGMENTS[0]))
    assert "put" in remote.asked()
    return remote


def fetch(remote: Remote, data: DataDirectory, name: str) -> list[str]:
    """What a wal-fetch asks for, as a process of its own; `absent` at the end when the file is."""
    destination = data.wal / "RECOVERYXLOG"
    destination.unlink(missing_ok=True)
    remote.asked()
    try:
        download_wal(remote.archive(), name, str(destination))
    except ObjectMissing:
        return [*remote.asked(), "absent"]
    assert destination.read_bytes() == segment(name)
    return remote.asked()


@pytest.mark.parametrize("method", CODECS)
def test_a_new_segment_is_one_request(known: Remote, data: DataDirectory, method: str) -> None:
    wal_push(known.archive(WALG_COMPRESSION_METHOD=method), data.add(SEGMENTS[1]))
    assert known.asked() == ["put"]


def test_the_first_segment_of_an_archive_makes_it_the_cluster_s_own(remote: Remote, data: DataDirectory) -> None:
    wal_push(remote.archive(), data.add(SEGMENTS[0]))
    asked = Counter(remote.asked())
    assert asked["put"] == 2  # the identity, the segment
    assert asked["list"] == 1  # whether a backup names another owner
    assert asked.total() <= 6


def test_a_segment_that_is_archived_is_refused_and_compared(known: Remote, data: DataDirectory) -> None:
    wal_push(known.archive(), str(data.wal / SEGMENTS[0]))
    assert known.asked() == ["put", "get"]


def test_a_history_file_is_looked_for_first(known: Remote, data: DataDirectory) -> None:
    wal_push(known.archive(), data.add("00000002.history", b"1\t0/3000000\treason\n"))
    assert known.asked() == ["list", "put"]


def test_a_burst_is_one_request_for_each_segment_and_none_for_its_turn(known: Remote, data: DataDirectory) -> None:
    paths = [data.add(name, ready=True) for name in SEGMENTS[1:6]]
    wal_push(known.archive(), paths[0])
    assert known.asked() == ["put"] * 5
    for path in paths[1:]:
        wal_push(known.archive(), path)
    assert known.asked() == []


def test_a_hit_is_one_request(known: Remote, data: DataDirectory) -> None:
    assert fetch(known, data, FIRST) == ["get"]
    assert fetch(known, data, FIRST) == ["get"]


def test_a_miss_is_two_requests_and_one_when_it_is_repeated(known: Remote, data: DataDirectory) -> None:
    assert fetch(known, data, SEGMENTS[1]) == ["get", "list", "absent"]
    assert fetch(known, data, SEGMENTS[1]) == ["list", "absent"]
    assert fetch(known, data, "00000002.history") == ["list", "absent"]


def test_another_codec_than_the_configured_one_is_remembered(remote: Remote, data: DataDirectory) -> None:
    for name in SEGMENTS[:3]:
        remote.archive().put_wal(f"{name}.br", [])  # an object of a longer name, which a look-up has to tell apart
        remote.archive(WALG_COMPRESSION_METHOD="zstd").put_wal(name, [segment(name)])
    assert fetch(remote, data, SEGMENTS[0]) == ["get", "list", "get"]
    assert fetch(remote, data, SEGMENTS[1]) == ["get"]
    assert fetch(remote, data, SEGMENTS[2]) == ["get"]


def test_prefetch_asks_once_for_each_segment(known: Remote, data: DataDirectory) -> None:
    for name in SEGMENTS[1:6]:
        known.archive().put_wal(name, [segment(name)])
    known.asked()
    wal_prefetch(known.archive(WALG_DOWNLOAD_CONCURRENCY="5"), FIRST, str(data.wal / "RECOVERYXLOG"))
    assert known.asked() == ["get"] * 5


def test_a_backup_asks_no_more_of_a_large_archive(postgres: Cluster) -> None:
    with S3() as remote:
        environment = {key: setting.value for key, setting in remote.config().settings.items()}

        def requests_of_a_backup() -> Counter[str]:
            remote.asked()
            postgres.walpy("backup-push", str(postgres.data_directory), **environment)
            return Counter(remote.asked())

        requests_of_a_backup()  # the first one may ask whose archive it is
        small = requests_of_a_backup()
        older = [following_segment(f"00000009{FIRST[8:]}", 16 * MIB, number) for number in range(1_100)]
        remote.fill(f"wal_005/{name}.lz4" for name in older)
        remote.fill(f"basebackups_005/base_{name}_backup_stop_sentinel.json" for name in older[:40])
        remote.fill(f"basebackups_005/base_{older[0]}/tar_partitions/part_{part}.tar.lz4" for part in range(1_100))
        assert requests_of_a_backup() == small
