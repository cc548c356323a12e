"""Chains of delta backups on a real server: every step is restored, and is what a full backup of that moment is.

A seed decides what happens between the steps. WALPY_SEEDS=20 tries that many. The pages' headers tell what changed, or
what wal-push recorded of the WAL, or, from PostgreSQL 17 on, the server's WAL summaries.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, archiving, give
from tests.fixtures.postgres import DEFAULT_MAJOR, MAJORS, ClusterFactory
from tests.fixtures.recovery import WAIT_SECONDS, archive_all, recover
from tests.integration.backup_restore import newest_backup
from walpy.postgres.page import relation_segment

FIRST_WITH_SUMMARIES = 17
STEPS = 3
SEEDS = range(int(os.environ.get("WALPY_SEEDS", "1")))
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

    def _table(self) -> str:
        return self._choose.choice(self._tables)


def push(cluster: Cluster, archive_folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """Name of the new backup, and the messages."""
    environment["WALG_DISABLE_PARTIAL_RESTORE"] = "true"  # reads no catalogs, which would change their pages' hints
    done = cluster.walpy("backup-push", str(cluster.data_directory), *arguments, **environment)
    return newest_backup(archive_folder).name, done.stderr


def relation_files(cluster: Cluster, oid: str) -> dict[str, bytes]:
    """Contents of all relations' files below base and the tablespace."""
    places = {"base": cluster.data_directory / "base", f"pg_tblspc/{oid}": cluster.base / "restored-space"}
    found = {}
    for name, folder in places.items():
        for path in folder.rglob("*"):
            full = f"/{name}/{path.relative_to(folder)}"
            if path.is_file() and relation_segment(full) is not None:
                found[full] = path.read_bytes()
    return found


def recovered(name: str, oid: str, source: Cluster, make_cluster: ClusterFactory, *arguments: str) -> dict[str, bytes]:
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("major", "source"),
    [pytest.param(*case, marks=() if case[0] == DEFAULT_MAJOR else pytest.mark.matrix) for case in CASES],
)
def test_every_step_is_what_a_full_backup_is(
    seed: int, major: int, source: str, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    settings, environment = archiving(archive_folder)
    settings = {**settings, **QUIET, **({"summarize_wal": "on"} if source == "summaries" else {})}
    if source == "maps":
        environment = {**environment, "WALG_USE_WAL_DELTA": "true", "WALG_FORCE_WAL_DELTA": "true"}
    cluster = make_cluster(major, settings=settings, environment=environment, wal_segment_size_mib=1)
    workload = Workload(cluster, seed)
    oid = cluster.execute("select oid from pg_tablespace where spcname = 'space'")
    base, _ = push(cluster, archive_folder)
    pairs = []
    for _ in range(STEPS):
        workload.change()
        chained = {"WALG_DELTA_MAX_STEPS": "9", "WALG_DELTA_FROM_NAME": base}
        base, messages = push(cluster, archive_folder, **chained)
        assert "_D_" in base
        assert [name for name, words in TELLING.items() if words in messages][-1] == source
        cluster.execute("select pg_create_restore_point('between')")
        pairs.append((base, push(cluster, archive_folder, "--full")[0]))
    archive_all(cluster)
    cluster.stop()
    for index, (delta, full) in enumerate(pairs):
        arguments = ["--reverse-unpack"] if index % 2 else []
        expected = recovered(full, oid, cluster, make_cluster)
        found = recovered(delta, oid, cluster, make_cluster, *arguments)
        assert len(expected) > 100
        assert found.keys() == expected.keys()
        different = [name for name, content in expected.items() if found[name] != content]
        assert different == [], f"step {index + 1} of seed {seed}"
