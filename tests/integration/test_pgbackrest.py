"""A repository that pgBackRest itself made: listed, restored and recovered from."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.fixtures.cluster import Cluster, give, new_base, walpy_command
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import recover_fully, wait_until
from tests.fixtures.require import missing

STANZA = "main"
CONTENT = "select count(*), sum(hashtextextended(x, 0)) from t"
FILL = "insert into t select n, repeat(md5(n::text), 5) from generate_series(1, 2000) n"


class Repository:
    """A cluster, and pgBackRest's repository of it."""

    def __init__(self, cluster: Cluster, *, compression: str, bundle: bool, cipher: bool = False) -> None:
        self.cluster = cluster
        self.folder = cluster.base / "repo"
        self.program = shutil.which("pgbackrest") or missing("pgbackrest", "no pgbackrest here")
        base = cluster.base
        self.config = base / "pgbackrest.conf"
        lines = [
            "[global]",
            f"repo1-path={self.folder}",
            f"lock-path={base / 'lock'}",
            f"spool-path={base / 'spool'}",
            "log-level-file=off",
            "log-level-console=warn",
            f"compress-type={compression}",
            f"repo1-bundle={'y' if bundle else 'n'}",
            *(["repo1-cipher-type=aes-256-cbc", "repo1-cipher-pass=secret"] if cipher else []),
            "repo1-retention-full=9",
            "start-fast=y",
            f"[{STANZA}]",
            f"pg1-path={cluster.data_directory}",
            f"pg1-socket-path={cluster.socket_directory}",
            f"pg1-port={cluster.port}",
            "pg1-user=postgres",
        ]
        self.config.write_text("\n".join(lines) + "\n")
        for name in ("repo", "lock", "spool"):
            (base / name).mkdir()
            give(base / name)
        command = f"{self.program} --config={self.config} --stanza={STANZA} archive-push %p"
        cluster.configure({"archive_mode": "on", "archive_command": command})
        cluster.start()
        self.run("stanza-create")

    @property
    def settings(self) -> dict[str, str]:
        return {"WALG_FILE_PREFIX": str(self.folder), "PGBACKREST_STANZA": STANZA}

    def run(self, *arguments: str) -> str:
        return self.cluster.run([self.program, f"--config={self.config}", f"--stanza={STANZA}", *arguments]).stdout

    def backup(self, kind: str) -> None:
        self.run(f"--type={kind}", "backup")

    def labels(self) -> list[str]:
        (stanza,) = json.loads(self.run("--output=json", "info"))
        return [backup["label"] for backup in stanza["backup"]]


@pytest.fixture
def make_repository(make_cluster: ClusterFactory) -> Callable[..., Repository]:
    def make(**options: bool | str) -> Repository:
        if shutil.which("pgbackrest") is None:
            missing("pgbackrest", "no pgbackrest here")
        cluster = make_cluster(wal_segment_size_mib=1, start=False)
        return Repository(cluster, **{"compression": "lz4", "bundle": False, **options})  # type: ignore[arg-type]

    return make


def walpy(repository: Repository, *arguments: str, check: bool = True) -> CompletedProcess[str]:
    return repository.cluster.walpy("pgbackrest", *arguments, check=check, **repository.settings)


def archive_all(cluster: Cluster) -> None:
    segment = cluster.execute("select pg_walfile_name(pg_switch_wal())")
    wait_until(cluster, f"select coalesce(last_archived_wal, '') >= '{segment}' from pg_stat_archiver")


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("compression", "bundle"),
    [
        ("lz4", False),
        ("zst", True),
        pytest.param("gz", False, marks=pytest.mark.matrix),
        pytest.param("none", True, marks=pytest.mark.matrix),
    ],
)
def test_backups_are_listed_restored_and_recovered(
    compression: str, bundle: bool, make_repository: Callable[..., Repository], make_cluster: ClusterFactory
) -> None:
    repository = make_repository(compression=compression, bundle=bundle)
    cluster = repository.cluster
    space, moved = new_base(), new_base()
    cluster.execute(f"create tablespace s location '{space}'")
    cluster.execute("create table t (n int, x text) tablespace s")
    cluster.execute(FILL)
    repository.backup("full")
    cluster.execute(FILL)
    repository.backup("diff")
    repository.backup("incr")
    cluster.execute(FILL)  # only in the WAL
    archive_all(cluster)
    expected = cluster.execute(CONTENT)
    number = cluster.execute("select oid from pg_tablespace where spcname = 's'")

    listed = json.loads(walpy(repository, "backup-list", "--json", "--detail").stdout)
    assert [backup["BackupName"] for backup in listed] == repository.labels()
    assert [backup["Type"] for backup in listed] == ["full", "diff", "incr"]
    assert "OK" in walpy(repository, "wal-show").stdout

    spec = cluster.base / "spec.json"
    place = {"loc": str(moved), "link": f"pg_tblspc/{number}"}
    spec.write_text(json.dumps({"base_prefix": "/", "tablespaces": [number], number: place}))
    command = f"{walpy_command()} pgbackrest wal-fetch %f %p"
    for name in (repository.labels()[0], "LATEST"):
        shutil.rmtree(moved)
        moved.mkdir()
        give(moved)
        restored = make_cluster(initdb=False, environment=repository.settings)
        restored.walpy("pgbackrest", "backup-fetch", str(restored.data_directory), name, "--restore-spec", str(spec))
        assert os.readlink(restored.data_directory / "pg_tblspc" / number) == str(moved)
        recover_fully(restored, {"restore_command": command, "archive_mode": "off"})
        wait_until(restored, "select pg_is_in_recovery()", "f")
        assert restored.execute(CONTENT) == expected
        restored.stop()
    for path in (space, moved):
        shutil.rmtree(path)


def test_a_restore_is_what_pgbackrest_restores(make_repository: Callable[..., Repository]) -> None:
    repository = make_repository()
    repository.backup("full")
    cluster = repository.cluster
    own, theirs = cluster.base / "own", cluster.base / "theirs"
    theirs.mkdir(mode=0o700)
    give(theirs)
    walpy(repository, "backup-fetch", str(own), "LATEST")
    repository.run(f"--pg1-path={theirs}", "--type=none", "restore")
    found, expected = files(own), dict(files(theirs))
    generated = {"postgresql.auto.conf", "recovery.signal"}
    assert {name: found[name] for name in found.keys() - generated} == {
        name: expected[name] for name in expected.keys() - generated
    }
    modes = {path.relative_to(theirs): path.stat().st_mode for path in theirs.rglob("*")}
    assert {path.relative_to(own): path.stat().st_mode for path in own.rglob("*")}.items() >= {
        path: mode for path, mode in modes.items() if path.name not in generated
    }.items()


def test_one_wal_file(make_repository: Callable[..., Repository]) -> None:
    repository = make_repository()
    repository.backup("full")
    cluster = repository.cluster
    (first,) = (backup["wal_file_name"] for backup in json.loads(walpy(repository, "backup-list", "--json").stdout))
    target = cluster.base / "fetched"
    assert walpy(repository, "wal-fetch", first, str(target)).returncode == 0
    assert target.stat().st_size == 1 << 20
    absent = walpy(repository, "wal-fetch", "0000000100000000000000EE", str(target), check=False)
    assert (absent.returncode, "does not exist" in absent.stderr) == (74, True)
    assert walpy(repository, "wal-fetch", "00000002.history", str(target), check=False).returncode == 74
    (stored,) = (repository.folder / "archive" / STANZA).rglob(f"{first}-*")
    content = stored.read_bytes()
    stored.write_bytes(content[:-100])
    damaged = walpy(repository, "wal-fetch", first, str(target), check=False)
    assert (damaged.returncode, "is damaged: the lz4 data are truncated" in damaged.stderr) == (1, True)
    stored.write_bytes(content)
    stored.rename(stored.with_name(f"{first}-{'0' * 40}.lz4"))
    assert (
        "another checksum than its name tells" in walpy(repository, "wal-fetch", first, str(target), check=False).stderr
    )
    in_recovery = cluster.run(
        ["sh", "-c", f"cd data && {walpy_command()} pgbackrest wal-fetch {first} pg_wal/RECOVERYXLOG"],
        check=False,
        environment=repository.settings,
    )
    assert in_recovery.returncode == 200  # PostgreSQL must not take it for the end of the archive


def test_what_is_damaged_or_missing_is_no_restore(make_repository: Callable[..., Repository]) -> None:
    repository = make_repository()
    assert walpy(repository, "backup-list").stdout == ""
    repository.backup("full")
    cluster, label = repository.cluster, repository.labels()[0]
    folder = repository.folder / "backup" / STANZA
    unknown = walpy(repository, "backup-fetch", str(cluster.base / "no"), "20200101-000000F", check=False)
    assert "Backup '20200101-000000F' does not exist." in unknown.stderr
    (folder / "backup.info").write_bytes(b"")  # its copy serves
    assert label in walpy(repository, "backup-list").stdout
    stored = folder / label / "pg_data/PG_VERSION.lz4"
    content = stored.read_bytes()
    stored.unlink()
    lost = walpy(repository, "backup-fetch", str(cluster.base / "lost"), "LATEST", check=False)
    assert "the repository has lost" in lost.stderr
    assert not (cluster.base / "lost/global/pg_control").exists()
    stored.write_bytes(content[:-8])
    damaged = walpy(repository, "backup-fetch", str(cluster.base / "damaged"), "LATEST", check=False)
    assert (damaged.returncode, "is damaged" in damaged.stderr) == (1, True)
    assert not (cluster.base / "damaged/global/pg_control").exists()


def test_an_encrypted_repository_is_refused(make_repository: Callable[..., Repository]) -> None:
    repository = make_repository(cipher=True)
    repository.backup("full")
    refused = walpy(repository, "backup-list", check=False)
    assert refused.returncode == 1
    assert "is encrypted, as pgBackRest does it" in refused.stderr
