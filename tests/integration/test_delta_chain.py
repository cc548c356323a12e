"""Chains of delta backups on a real server: every step is restored, and is what a full backup of that moment is.

A seed decides what happens between the steps. WALPY_SEEDS=20 tries that many, WALPY_SEEDS=20-29 ten others. The pages'
headers tell what changed, or what wal-push recorded of the WAL, or, from PostgreSQL 17 on, the server's WAL summaries.
"""

import os
import random
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from xxhash import xxh3_128_hexdigest

from tests.fixtures.cluster import Cluster, archiving, give
from tests.fixtures.postgres import DEFAULT_MAJOR, MAJORS, ClusterFactory
from tests.fixtures.recovery import WAIT_SECONDS, archive_all, recover
from tests.integration.backup_restore import newest_backup
from walpy.postgres.page import RELATION_SEGMENT_SIZE, relation_segment

FIRST_WITH_SUMMARIES = 17
STEPS = 3
FIRST_SEED, _, LAST_SEED = os.environ.get("WALPY_SEEDS", "1").rpartition("-")
SEEDS = range(int(FIRST_SEED), int(LAST_SEED) + 1) if FIRST_SEED else range(int(LAST_SEED))
PIECE = 1 << 20
QUIET = {"autovacuum": "off", "checkpoint_timeout": "1h", "fsync": "off", "full_page_writes": "on"}


class Workload:
    """Changes of a cluster, chosen by a seed; it knows the tables that there are."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._choose = random.Random(seed)
        self._tables: list[str] = []
        self._databases: list[str] = []
        self._count = 0
        location = cluster.base / "space"
        location.mkdir()
        give(location)
        cluster.execute(f"create tablespace space location '{location}'")
        for _ in range(3):
            self.create_table()

    def change(self) -> None:
        """A few changes; the hints that readers would note in pages later, without WAL, are there in the end."""
        changes = [
            self.insert,
            self.update,
            self.delete,
            self.rewrite,
            self.truncate,
            self.create_table,
            self.drop_table,
            self.create_database,
            self.drop_database,
            self.move,
        ]
        for change in self._choose.sample(changes, 5):
            change()
        self._cluster.execute("vacuum")
        self._cluster.execute("checkpoint")

    def create_table(self) -> None:
        self._count += 1
        name = f"t{self._count}"
        kind = self._choose.choice(["", "", "unlogged "])
        place = self._choose.choice(["", "", " tablespace space"])
        self._cluster.execute(f"create {kind}table {name} (i int, x text){place}")
        self._cluster.execute(f"create index on {name} (i)")
        self._tables.append(name)
        self.insert(name)

    def insert(self, name: str = "") -> None:
        rows = self._choose.choice([1, 200, 9000])
        self._cluster.execute(
            f"insert into {name or self._table()} select n, repeat(md5(n::text), 3) from generate_series(1, {rows}) n"
        )

    def update(self) -> None:
        self._cluster.execute(f"update {self._table()} set x = 'new' where i % {self._choose.choice([7, 500])} = 0")

    def delete(self) -> None:
        name = self._table()
        self._cluster.execute(f"delete from {name} where i > {self._choose.choice([0, 100, 5000])}")
        self._cluster.execute(f"vacuum {name}")  # truncates what is empty at the end

    def rewrite(self) -> None:
        self._cluster.execute(f"vacuum full {self._table()}")

    def truncate(self) -> None:
        name = self._table()
        self._cluster.execute(f"truncate {name}")
        self.insert(name)

    def drop_table(self) -> None:
        if len(self._tables) > 1:
            name = self._table()
            self._tables.remove(name)
            self._cluster.execute(f"drop table {name}")

    def create_database(self) -> None:
        self._count += 1
        self._databases.append(f"d{self._count}")
        self._cluster.execute(f"create database {self._databases[-1]}")

    def drop_database(self) -> None:
        if self._databases:
            self._cluster.execute(f"drop database {self._databases.pop()}")

    def move(self) -> None:
        self._cluster.execute(
            f"alter table {self._table()} set tablespace {self._choose.choice(['space', 'pg_default'])}"
        )

    def log_much(self) -> None:
        """So much WAL that a group of 16 segments of 1 MiB begins and ends in it."""
        self._count += 1
        self._cluster.execute(
            f"create table much{self._count} as select n, repeat(md5(n::text), 8) from generate_series(1, 120000) n"
        )

    def _table(self) -> str:
        return self._choose.choice(self._tables)


class BigTable:
    """A table of more than 1 GiB, nearly all of it pages that were never used; its file is sparse."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.execute("create table big (i int, x text)")
        self._insert(1, 100)
        file = cluster.data_directory / cluster.execute("select pg_relation_filepath('big')")
        cluster.stop()
        os.truncate(file, RELATION_SEGMENT_SIZE)
        second = file.with_name(f"{file.name}.1")
        second.write_bytes(bytes(64 << 13))
        give(second)
        cluster.start()

    def change(self, step: int) -> None:
        """Use pages of the second file, and change one of the first; in the last step cut it off at its first pages."""
        if step < STEPS - 1:
            first = 1000 * (step + 1)
            self._insert(first, first + 500)
            self._cluster.execute(f"update big set x = 'new' where i in (7, {first + 5})")
            highest = "select max(substring(ctid::text from '[0-9]+')::int) from big"
            assert int(self._cluster.execute(highest)) >= RELATION_SEGMENT_SIZE >> 13
        else:
            self._cluster.execute("delete from big where i >= 1000 or i = 7")
            self._cluster.execute("vacuum (truncate) big")
            assert int(self._cluster.execute("select pg_relation_size('big')")) < RELATION_SEGMENT_SIZE
        self._cluster.execute("checkpoint")

    def _insert(self, first: int, last: int) -> None:
        self._cluster.execute(f"insert into big select n, md5(n::text) from generate_series({first}, {last}) n")


def push(cluster: Cluster, archive_folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """Name of the new backup, and the messages."""
    environment["WALG_DISABLE_PARTIAL_RESTORE"] = "true"  # reads no catalogs, which would change their pages' hints
    done = cluster.walpy("backup-push", str(cluster.data_directory), *arguments, **environment)
    return newest_backup(archive_folder).name, done.stderr


class Content(NamedTuple):
    """What a file holds. size: bytes. digests: of each MiB."""

    size: int
    digests: list[str]


def content_of(path: Path) -> Content:
    with path.open("rb") as file:
        return Content(
            path.stat().st_size, [xxh3_128_hexdigest(piece) for piece in iter(lambda: file.read(PIECE), b"")]
        )


def relation_files(cluster: Cluster, oid: str) -> dict[str, Content]:
    """Contents of all relations' files below base and the tablespace."""
    places = {"base": cluster.data_directory / "base", f"pg_tblspc/{oid}": cluster.base / "restored-space"}
    found = {}
    for name, folder in places.items():
        for path in folder.rglob("*"):
            full = f"/{name}/{path.relative_to(folder)}"
            if path.is_file() and relation_segment(full) is not None:
                found[full] = content_of(path)
    return found


def recovered(
    name: str, oid: str, source: Cluster, make_cluster: ClusterFactory, *arguments: str
) -> dict[str, Content]:
    """Relation files of a backup, recovered to its end and shut down."""
    restored = make_cluster(source.major, initdb=False, environment=source.environment)
    space = restored.base / "restored-space"
    spec = restored.base / "spec.json"
    link = f'"{oid}":{{"loc":"{space}","link":"pg_tblspc/{oid}"}}'
    spec.write_text(f'{{{link},"base_prefix":"{restored.data_directory}","tablespaces":["{oid}"]}}')
    give(spec)
    restored.walpy("backup-fetch", str(restored.data_directory), name, "--restore-spec", str(spec), *arguments)
    settings, _ = archiving(Path(source.environment["WALG_FILE_PREFIX"]))
    target = {"recovery_target": "immediate", "recovery_target_action": "shutdown", "hot_standby": "off"}
    try:
        recover(restored, {**settings, **target, "archive_mode": "off"})
    except RuntimeError:
        assert "recovery stopping after reaching consistency" in restored.log_tail(100)
    deadline = time.monotonic() + WAIT_SECONDS
    while restored.is_running():
        assert time.monotonic() < deadline, restored.log_tail()
        time.sleep(0.1)
    return relation_files(restored, oid)


TELLING = {"headers": "Stored", "maps": "WAL delta maps and", "summaries": "WAL summaries tell what changed"}
CASES = [
    (major, source) for source in TELLING for major in MAJORS if source != "summaries" or major >= FIRST_WITH_SUMMARIES
]


BIG_CASES = {DEFAULT_MAJOR: ["headers", "maps"], FIRST_WITH_SUMMARIES: ["summaries"]}


def make_source(make_cluster: ClusterFactory, major: int, source: str, archive_folder: Path) -> Cluster:
    """A server whose changes are told by that source."""
    settings, environment = archiving(archive_folder)
    settings = {**settings, **QUIET, **({"summarize_wal": "on"} if source == "summaries" else {})}
    if source == "maps":
        environment = {**environment, "WALG_USE_WAL_DELTA": "true", "WALG_FORCE_WAL_DELTA": "true"}
    return make_cluster(major, settings=settings, environment=environment, wal_segment_size_mib=1)


def push_pair(cluster: Cluster, archive_folder: Path, base: str, source: str) -> tuple[tuple[str, str], str]:
    """Names of a delta backup, which that source told what to read, and of a full one; messages of the first."""
    chained = {"WALG_DELTA_MAX_STEPS": "9", "WALG_DELTA_FROM_NAME": base}
    delta, messages = push(cluster, archive_folder, **chained)
    assert "_D_" in delta
    assert [name for name, words in TELLING.items() if words in messages][-1] == source
    cluster.execute("select pg_create_restore_point('between')")
    return (delta, push(cluster, archive_folder, "--full")[0]), messages


def check_pairs(pairs: list[tuple[str, str]], oid: str, cluster: Cluster, make_cluster: ClusterFactory) -> None:
    """Every delta backup is what the full one beside it is. Ends the server."""
    archive_all(cluster)
    cluster.stop()
    for index, (delta, full) in enumerate(pairs):
        arguments = ["--reverse-unpack"] if index % 2 else []
        expected = recovered(full, oid, cluster, make_cluster)
        found = recovered(delta, oid, cluster, make_cluster, *arguments)
        assert len(expected) > 100
        assert found.keys() == expected.keys()
        different = [name for name, content in expected.items() if found[name] != content]
        assert different == [], f"step {index + 1}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("major", "source"),
    [pytest.param(*case, marks=() if case[0] == DEFAULT_MAJOR else pytest.mark.matrix) for case in CASES],
)
def test_every_step_is_what_a_full_backup_is(
    seed: int, major: int, source: str, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    cluster = make_source(make_cluster, major, source, archive_folder)
    workload = Workload(cluster, seed)
    oid = cluster.execute("select oid from pg_tablespace where spcname = 'space'")
    base, _ = push(cluster, archive_folder)
    pairs = []
    for step in range(STEPS):
        workload.change()
        if source == "maps" and step == STEPS - 1:
            workload.log_much()
            archive_all(cluster)  # a map is stored when its WAL is
        pair, messages = push_pair(cluster, archive_folder, base, source)
        base = pair[0]
        pairs.append(pair)
    assert source != "maps" or re.search(r"[1-9]\d* WAL delta maps and", messages)
    check_pairs(pairs, oid, cluster, make_cluster)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize(("major", "source"), [(major, source) for major in BIG_CASES for source in BIG_CASES[major]])
def test_a_relation_of_two_files_is_what_a_full_backup_has(
    major: int, source: str, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    cluster = make_source(make_cluster, major, source, archive_folder)
    workload, table = Workload(cluster, 1), BigTable(cluster)
    oid = cluster.execute("select oid from pg_tablespace where spcname = 'space'")
    base, _ = push(cluster, archive_folder)
    pairs = []
    for step in range(STEPS):
        table.change(step)
        workload.insert()
        pair, _ = push_pair(cluster, archive_folder, base, source)
        base = pair[0]
        pairs.append(pair)
    check_pairs(pairs, oid, cluster, make_cluster)
