"""delete over two storages, while the primary dies at each of its deletions: no listed backup is ever broken."""

import json
from collections.abc import Callable

import pytest

from tests.integration.failover.site import Site
from tests.unit.wal.synthetic import SYSTEM_IDENTIFIER, segment
from walpy import layout
from walpy.archive import Archive
from walpy.backup.model import BackupMetadata, Sentinel
from walpy.wal.segment import MIB, segment_name

BACKUPS = {1: "second", 3: "primary", 5: "second", 7: "primary", 9: "second"}  # segment of the start → storage
DELTA = 5  # is made on the one at 1, in its storage
KEPT = {7, 9}
SETTINGS = {"WALG_PG_WAL_SIZE": "1"}
RETAIN = ("delete", "retain", "FULL", "2", "--confirm")


def name_of(number: int) -> str:
    own = f"base_{segment_name(1, number, MIB)}"
    return f"{own}_D_{segment_name(1, 1, MIB)}" if number == DELTA else own


def archives(site: Site) -> dict[str, Archive]:
    return {"primary": site.primary, "second": site.second}


def fill(site: Site) -> None:
    """Backups in turns, and the WAL of each segment in turns too."""
    found = archives(site)
    for number, holder in BACKUPS.items():
        name, lsn = name_of(number), number * MIB + 40
        base = name_of(1) if number == DELTA else None
        sentinel = Sentinel(lsn=lsn, finish_lsn=lsn + 99, pg_version=150018, system_identifier=SYSTEM_IDENTIFIER)
        metadata = BackupMetadata(start_lsn=lsn, finish_lsn=lsn + 99, system_identifier=SYSTEM_IDENTIFIER)
        archive = found[holder]
        archive.put_bytes(layout.tar_partition(name, "part_001.tar", "lz4"), b"-")
        archive.put_bytes(layout.metadata(name), metadata.to_json())
        archive.put_bytes(layout.sentinel(name), sentinel._replace(delta_from=base).to_json())
    for number in range(1, 11):
        archive = found["primary" if number % 2 else "second"]
        archive.put_wal(segment_name(1, number, MIB), [segment(segment_name(1, number, MIB))])


def check_whole(site: Site) -> None:
    """Each listed backup has its parts and its base, and the kept ones have their WAL."""
    for archive in archives(site).values():
        names = set(archive.storage.list_names())
        for number in BACKUPS:
            if layout.sentinel(name_of(number)) in names:
                assert layout.metadata(name_of(number)) in names
                assert layout.tar_partition(name_of(number), "part_001.tar", "lz4") in names
                assert number != DELTA or layout.sentinel(name_of(1)) in names
    assert segments(site) >= set(range(min(KEPT), 11))


def segments(site: Site) -> set[int]:
    """Numbers of the segments that any storage holds."""
    found = (name for archive in archives(site).values() for name in archive.storage.list_names("wal_005"))
    return {int(name[24:32], 16) for name in found}


def test_old_backups_and_wal_of_both_storages_go(site: Site) -> None:
    fill(site)
    verified = json.loads(site.must("wal-verify", "integrity", "--timeline=1", "--lsn=0/B00001", "--json", **SETTINGS))
    assert verified["integrity"]["status"] == "OK"
    (shown,) = json.loads(site.must("wal-show", "--detailed-json", **SETTINGS))
    assert (shown["segments_count"], len(shown["backups"])) == (10, 5)
    site.must(*RETAIN, tries=1, **SETTINGS)
    check_gone(site)


def check_gone(site: Site) -> None:
    check_whole(site)
    left = {name for archive in archives(site).values() for name in archive.storage.list_names("basebackups_005")}
    assert {name for name in left if not any(name_of(number) in name for number in KEPT)} == set()
    assert sum(name.endswith("_sentinel.json") for name in left) == len(KEPT)
    assert segments(site) == set(range(min(KEPT), 11))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "dies after it"])
def test_the_primary_ends_at_each_deletion(make_site: Callable[[], Site], how: str) -> None:
    number, has_died = 0, True
    while has_died:
        site = make_site()
        fill(site)
        site.doom(number, how, part="?delete")
        site.run(*RETAIN, **SETTINGS)
        has_died = site.server.is_dead
        site.revive()
        check_whole(site)
        site.must(*RETAIN, tries=1, **SETTINGS)
        check_gone(site)
        number += 1
    assert number > 3  # the check's object, sentinels, parts, WAL


@pytest.mark.slow
def test_nothing_goes_while_the_primary_is_dead(site: Site) -> None:
    fill(site)
    before = sorted(site.second.storage.list_names())
    site.server.kill()
    site.patience = 3
    done = site.run(*RETAIN, **SETTINGS)
    assert done.returncode == 1
    assert "storage default is dead, so nothing is deleted" in done.stderr
    assert sorted(site.second.storage.list_names()) == before
