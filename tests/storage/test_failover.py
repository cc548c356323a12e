"""FailoverStorage over folders: the contract, dead storages, nothing doubled, nothing taken for absent."""

import json
import logging
import os
from pathlib import Path

import pytest

from tests.fixtures.failover import Places
from tests.fixtures.faults import FaultyStorage
from tests.storage.contract import StorageContract
from tests.unit.wal.synthetic import FIRST, SYSTEM_IDENTIFIER, DataDirectory, archive_in, content, segment
from walpy.archive import Archive, open_archive, open_wal_archive
from walpy.backup.catalog import BackupSelector
from walpy.backup.listing import backup_list
from walpy.backup.storages import archives_of_all, archives_to_delete, archives_to_read, config_to_write, locate
from walpy.errors import BackupError, InvalidWal, ObjectMissing, StorageError, StorageUnavailable, WalConflict
from walpy.storage.base import Storage
from walpy.wal.identity import admit_everywhere
from walpy.wal.missing import push_missing
from walpy.wal.push import wal_push

OBJECT = f"wal_005/{FIRST}.lz4"
SECOND = "000000010000000000000002"


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, places: Places) -> Storage:
        return open_wal_archive(places.config(), is_writing=False).storage


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


def pushing(places: Places, **more: str) -> Archive:
    return open_wal_archive(places.config(**more), is_writing=True)


def fetching(places: Places, **more: str) -> Archive:
    return open_wal_archive(places.config(**more), is_writing=False)


def test_segments_go_to_the_first_storage_that_is_alive(
    places: Places, data: DataDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    path = data.add(FIRST)
    places.kill("default")
    with caplog.at_level(logging.INFO):
        wal_push(pushing(places), path)
    assert places.objects(places.order()[1]) == [OBJECT]
    assert f"Files will be uploaded to storage: {places.order()[1]}" in caplog.text
    assert "storage default counts as dead" in caplog.text


def test_what_is_in_a_failover_is_not_archived_twice(places: Places, data: DataDirectory) -> None:
    path = data.add(FIRST)
    places.kill("default")
    wal_push(pushing(places), path)
    places.revive("default")
    places.forget()
    wal_push(pushing(places), path)  # the acknowledgement was lost: PostgreSQL asks again
    assert places.objects("default") == []
    data.add(FIRST, segment(FIRST, seed=1))
    with pytest.raises(WalConflict):
        wal_push(pushing(places), path)
    assert places.objects("default") == []


def store(places: Places, holder: str, name: str = FIRST) -> None:
    """Put a segment into one storage."""
    archive_in(places.base / holder).put_wal(name, [segment(name)])


@pytest.mark.parametrize("holder", ["default", "b", "c"])
def test_a_segment_is_found_wherever_it_is(places: Places, holder: str) -> None:
    store(places, holder)
    assert content(fetching(places), FIRST) == segment(FIRST)
    assert [item.name for item in fetching(places).storage.list("wal_005")] == [OBJECT]


def test_absence_is_proven_by_all_storages_together(places: Places) -> None:
    archive = fetching(places)
    for _ in range(2):  # by name, then by a listing
        with pytest.raises(ObjectMissing), archive.open_wal(FIRST):
            pass


@pytest.mark.parametrize("dead", ["default", "b", "c"])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_dead_storage_makes_nothing_absent(places: Places, dead: str, is_known: bool) -> None:
    archive = fetching(places)
    if is_known:
        content_or_error(archive)
    places.kill(dead)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=f"storage {dead} cannot be asked"), archive.open_wal(FIRST):
            pass
    alive = next(name for name in places.order() if name != dead)
    store(places, alive)
    assert content(archive, FIRST) == segment(FIRST)
    places.revive(dead)
    with pytest.raises(ObjectMissing), archive.open_wal(SECOND):
        pass


def content_or_error(archive: Archive) -> None:
    with pytest.raises(ObjectMissing), archive.open_wal(FIRST):
        pass


def test_a_storage_that_dies_under_a_process_is_left_and_one_that_is_back_is_taken(
    places: Places, data: DataDirectory
) -> None:
    archive = pushing(places, WALG_FAILOVER_STORAGES_CACHE_LIFETIME="0")
    wal_push(archive, data.add(FIRST))
    places.kill("default")
    wal_push(archive, data.add(SECOND))
    places.revive("default")
    third = "000000010000000000000003"
    wal_push(archive, data.add(third))
    assert places.objects("default") == [OBJECT, f"wal_005/{third}.lz4"]
    assert places.objects(places.order()[1]) == [f"wal_005/{SECOND}.lz4"]


def test_a_failure_makes_the_next_command_choose_another_storage(places: Places, data: DataDirectory) -> None:
    wal_push(pushing(places), data.add(FIRST))
    places.kill("default")  # its status is fresh, and says that it is alive
    path = data.add(SECOND)
    with pytest.raises(StorageError):
        wal_push(pushing(places), path)
    wal_push(pushing(places), path)
    assert places.objects(places.order()[1]) == [f"wal_005/{SECOND}.lz4"]


def test_no_storage_is_alive(places: Places, data: DataDirectory) -> None:
    for name in places.order():
        places.kill(name)
    with pytest.raises(StorageUnavailable, match="no alive storages"):
        wal_push(pushing(places), data.add(FIRST))


def test_a_check_of_writing_judges_the_write_and_leaves_nothing(places: Places, data: DataDirectory) -> None:
    (places.base / "default/wal-g_storage_check").mkdir()  # the object cannot be stored
    wal_push(pushing(places), data.add(FIRST))
    assert places.objects("default") == []
    assert places.objects(places.order()[1]) == [OBJECT]
    keys = json.loads((places.home / ".walg_storage_rw_status_cache").read_text())
    assert {key.partition("#")[0] for key in keys} == {"default", "b", "c"}


def test_the_chosen_storage_alone_is_read_and_written(places: Places, data: DataDirectory) -> None:
    wal_push(pushing(places, WALG_TARGET_STORAGE="c"), data.add(FIRST))
    assert (places.objects("default"), places.objects("c")) == ([], [OBJECT])
    assert content(fetching(places, WALG_TARGET_STORAGE="c"), FIRST) == segment(FIRST)
    with pytest.raises(ObjectMissing), fetching(places, WALG_TARGET_STORAGE="default").open_wal(FIRST):
        pass


def test_without_checks_the_primary_takes_everything_and_reads_still_look_everywhere(
    places: Places, data: DataDirectory
) -> None:
    settings = {"WALG_FAILOVER_STORAGES_CHECK": "false"}
    store(places, "c", SECOND)
    wal_push(pushing(places, **settings), data.add(FIRST))
    assert places.objects("default") == [OBJECT]
    assert content(fetching(places, **settings), SECOND) == segment(SECOND)
    assert list(places.home.iterdir()) == []


def test_a_failover_of_another_cluster_is_refused(places: Places, data: DataDirectory) -> None:
    other = places.order()[1]
    (places.base / other / "walpy_005").mkdir()
    (places.base / other / "walpy_005/identity.json").write_text('{"system_identifier": "7"}')
    wal_push(pushing(places), data.add(FIRST))
    places.kill("default")
    places.forget()
    with pytest.raises(InvalidWal, match="belongs to the cluster"):
        wal_push(pushing(places), data.add(SECOND))


def test_a_cluster_is_admitted_everywhere(places: Places, data: DataDirectory) -> None:
    path = data.add(FIRST)
    for name in places.order():
        (places.base / name / "walpy_005").mkdir()
        (places.base / name / "walpy_005/identity.json").write_text('{"system_identifier": "7"}')
    places.kill("b")
    with pytest.raises(StorageUnavailable, match="not admitted in storage b: b: "):
        admit_everywhere(archives_of_all(places.config()), SYSTEM_IDENTIFIER)
    places.revive("b")
    admit_everywhere(archives_of_all(places.config()), SYSTEM_IDENTIFIER)
    for name in places.order():
        wal_push(pushing(places, WALG_TARGET_STORAGE=name), path)
        (places.base / name / OBJECT).unlink()
    assert [item.storage_name for item in archives_of_all(places.config(WALG_TARGET_STORAGE="c"))] == ["c"]


def test_missing_files_are_those_that_no_storage_has(places: Places, data: DataDirectory) -> None:
    store(places, "c")
    for name in (FIRST, SECOND):
        data.add(name)
        data.status(name, "done").write_bytes(b"")
    assert push_missing(pushing(places), str(data.path)) == [SECOND]
    assert places.objects("default") == [f"wal_005/{SECOND}.lz4"]


# ---- backups


def backup(places: Places, holder: str, name: str, modified: int) -> None:
    sentinel = f"basebackups_005/{name}_backup_stop_sentinel.json"
    archive_in(places.base / holder).put_bytes(sentinel, b'{"LSN": 1}')
    os.utime(places.base / holder / sentinel, (modified, modified))


def test_backups_of_all_storages_are_listed_with_their_storages(places: Places) -> None:
    backup(places, "c", "base_2", 2000)
    backup(places, "default", "base_1", 1000)
    backup(places, "b", "base_1", 3000)
    rows = [line.split() for line in backup_list(*archives_to_read(places.config())).splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [("base_1", "default"), ("base_2", "c"), ("base_1", "b")]


def test_a_backup_is_found_where_it_is(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    backup(places, "default", "base_1", 1000)
    backup(places, "c", "base_2", 2000)
    for name in ("LATEST", "base_2"):
        config, found = locate(places.config(), BackupSelector(name))
        assert (found, config.storage_name(), config.prefix()) == ("base_2", "c", str(places.base / "c"))
    places.kill("default")
    places.forget()
    with pytest.raises(BackupError, match="in the storages that are alive"):
        locate(places.config(), BackupSelector("base_1"))
    assert "they are dead: default" in caplog.text


def test_backups_look_who_is_alive_now(places: Places) -> None:
    """What was known a moment ago does not count: the next backup, or restore, would fail like the last one."""
    backup(places, "c", "base_2", 2000)
    assert config_to_write(places.config()).prefix() == str(places.base / "default")
    assert locate(places.config(), BackupSelector("LATEST"))[1] == "base_2"
    places.kill("default")
    assert config_to_write(places.config()).prefix() == str(places.base / places.order()[1])
    assert locate(places.config(), BackupSelector("LATEST"))[1] == "base_2"


def test_a_backup_has_one_storage(places: Places) -> None:
    assert config_to_write(places.config()).prefix() == str(places.base / "default")
    places.kill("default")
    places.forget()
    chosen = config_to_write(places.config())
    assert (chosen.storage_name(), chosen.is_set("WALG_FAILOVER_STORAGES")) == (places.order()[1], False)
    assert open_archive(chosen).storage_name == places.order()[1]


def test_nothing_is_deleted_while_a_storage_is_dead(places: Places) -> None:
    assert [archive.storage_name for archive in archives_to_delete(places.config())] == places.order()
    places.kill("b")
    with pytest.raises(StorageUnavailable, match="storage b is dead, so nothing is deleted"):
        archives_to_delete(places.config())


@pytest.mark.parametrize("is_look_up", [False, True])
def test_an_object_that_moves_while_it_is_looked_for_is_found(is_look_up: bool, places: Places) -> None:
    """It is not yet in the first storage when that one is asked, and not any more in the second."""
    archive = fetching(places)
    storages = archive.storage.storages  # type: ignore[attr-defined]
    first, second, _ = (storages.storage(name) for name in places.order())
    second.put(OBJECT, [b"1"])

    class Moving(FaultyStorage):
        def event(self, kind: str) -> None:
            super().event(kind)
            if kind in ("open", "stat_many") and self.counts[kind] == 1:
                first.put(OBJECT, [b"1"])
                second.delete([OBJECT])

    storages._opened[places.order()[1]] = Moving(second)
    if is_look_up:
        assert [item.name for item in archive.storage.stat_many([OBJECT])] == [OBJECT]
    else:
        with archive.storage.open(OBJECT) as reader:
            assert b"".join(map(bytes, reader)) == b"1"
    assert archive.storage.stat_many(["nothing"]) == []
