"""Everything that moves WAL, with a key: a real server behind its agent, wal-receive, the daemon, the prefetcher."""

import json
import re
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, archiving, give, installed_command
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully, wait_until
from tests.integration.agent.agents import Site, wait_for
from tests.integration.agent.test_agent_postgres import agents_of
from tests.integration.agent.test_daemon import Daemon
from tests.integration.test_wal_receive import SLOT, receiving, switch
from tests.unit.wal.synthetic import archive_in, content
from walpy.stream.identify import identify

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "openpgp"
KEYS = {
    "libsodium": {"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"},
    "OpenPGP": {"WALG_PGP_KEY": (GOLDEN / "cv25519" / "key.asc").read_text().replace("\n", "\\n")},
}
CONTENT = "select count(*), sum(hashtext(t::text)) from t"


@pytest.fixture(params=KEYS)
def keys(request: pytest.FixtureRequest) -> dict[str, str]:
    return KEYS[request.param] | {"WALPY_REQUIRE_ENCRYPTION": "true"}


def check_encrypted(folder: Path, keys: dict[str, str]) -> list[str]:
    """Names of the WAL objects in an archive, each of which is encrypted and opened by the keys."""
    archive = archive_in(folder, **keys)
    names = sorted(path.name.removesuffix(".lz4") for path in (folder / "wal_005").iterdir())
    for name in names:
        assert identify((folder / f"wal_005/{name}.lz4").read_bytes()[:8192]).codec == ""
        assert content(archive, name)
    return names


def test_a_server_with_its_agent(keys: dict[str, str], make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings, environment = archiving(archive_folder, installed_command())
    server = make_cluster(settings=settings, environment=environment | keys, wal_segment_size_mib=1)
    server.execute("create table t as select i, md5(i::text) from generate_series(1, 2000) i")
    server.walpy("backup-push", str(server.data_directory))
    for _ in range(3):
        server.execute("insert into t select i, repeat(md5(i::text), 20) from generate_series(1, 4000) i")
    archive_all(server)
    wait_for(lambda: len(agents_of(server)) == 1)
    push_missing(server, archive_folder)
    names = check_encrypted(archive_folder, keys)
    assert len(names) > 9
    check_single_objects(server, archive_folder, names[-1])
    copied = copy(server, archive_folder, keys)
    expected = server.execute(CONTENT)
    server.stop()

    restored = make_cluster(initdb=False, environment=server.environment | {"WALG_FILE_PREFIX": str(copied)})
    restored.walpy("backup-fetch", str(restored.data_directory), "LATEST")
    recover_fully(restored, {**settings, "archive_mode": "off"})
    assert restored.execute(CONTENT) == expected
    assert agents_of(restored)
    assert not re.search("damaged|cannot", restored.log.read_text())  # nor the prefetch

    server.start()
    server.walpy("backup-push", str(server.data_directory))
    archive_all(server)
    server.walpy("delete", "retain", "1", "--confirm")
    assert len(server.walpy("backup-list").stdout.splitlines()) == 2
    assert len(check_encrypted(archive_folder, keys)) < len(names)


def push_missing(server: Cluster, archive_folder: Path) -> None:
    """wal-push --missing brings back what an archive has lost."""
    lost = sorted((archive_folder / "wal_005").iterdir())[-2:]
    for path in lost:
        path.unlink()
    server.walpy("wal-push", "--missing", str(server.data_directory))
    assert all(path.exists() for path in lost)


def check_single_objects(server: Cluster, archive_folder: Path, name: str) -> None:
    """st cat gives the stored bytes, the compressed and the plain ones, as it is asked."""
    out = server.base / "out"

    def cat(*options: str) -> bytes:
        server.run(
            ["sh", "-c", f'exec "$@" >{out}', "sh", installed_command(), "st", "cat", f"wal_005/{name}.lz4", *options]
        )
        return out.read_bytes()

    stored = (archive_folder / f"wal_005/{name}.lz4").read_bytes()
    assert cat() == stored
    assert identify(cat("--decrypt")).codec == "lz4"
    assert cat("--decrypt", "--decompress") == (server.data_directory / "pg_wal" / name).read_bytes()
    assert server.walpy("st", "cat", f"wal_005/{name}.lz4", "--decompress", check=False).returncode == 1


def copy(server: Cluster, archive_folder: Path, keys: dict[str, str]) -> Path:
    """Copy the archive; its objects are the same bytes."""
    target = server.base / "copy"
    target.mkdir()
    for name, folder in (("from.json", archive_folder), ("to.json", target)):
        (server.base / name).write_text(json.dumps({"WALG_FILE_PREFIX": str(folder), "WALG_PG_WAL_SIZE": "1", **keys}))
    give(server.base)
    where = [str(server.base / name) for name in ("from.json", "to.json")]
    server.walpy("copy", "--from", where[0], "--to", where[1], "--with-history")
    for path in target.rglob("*.lz4"):
        assert path.read_bytes() == (archive_folder / path.relative_to(target)).read_bytes()
    return target


def test_wal_receive(keys: dict[str, str], make_cluster: ClusterFactory, archive_folder: Path) -> None:
    environment = {"WALG_FILE_PREFIX": str(archive_folder), "WALG_SLOTNAME": "walpy", **keys}
    server = make_cluster(environment=environment, wal_segment_size_mib=1)
    server.execute("create table t (n int, x text)")
    with receiving(server):
        wait_until(server, SLOT)
        for _ in range(2):
            server.execute("insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 3000) n")
            last = switch(server)
        wait_for(lambda: (archive_folder / f"wal_005/{last}.lz4").exists())
    archive = archive_in(archive_folder, **keys)
    for name in check_encrypted(archive_folder, keys):
        assert content(archive, name) == (server.data_directory / "pg_wal" / name).read_bytes()


def test_the_daemon_and_the_prefetcher(keys: dict[str, str], tmp_path: Path) -> None:
    site = Site(tmp_path, **keys)
    names = site.segments(6)
    daemon = Daemon(site)
    try:
        wait_for(lambda: "serving at" in daemon.log.read_text())
        assert daemon.push(names[0]) == b"O"
        wait_for(lambda: all((site.archive / f"wal_005/{name}.lz4").exists() for name in names))  # archived ahead
        assert check_encrypted(site.archive, keys) == names
        plain = {name: (site.data.wal / name).read_bytes() for name in names}
        for name in names:
            assert daemon.push(name) == b"O"
            (site.data.wal / name).unlink()
        for name in names[:3]:
            assert daemon.fetch(name) == b"O"
            assert (site.data.wal / "RECOVERYXLOG").read_bytes() == plain[name]
    finally:
        daemon.end()
    prefetched = site.data.wal / ".wal-g" / "prefetch"
    site.run("wal-prefetch", names[3], "pg_wal/RECOVERYXLOG")
    assert (prefetched / names[4]).read_bytes() == plain[names[4]]
    fetched = site.run("wal-fetch", names[4], "pg_wal/RECOVERYXLOG", WALPY_AGENT="off", WALG_DOWNLOAD_CONCURRENCY="1")
    assert fetched.returncode == 0
    assert (site.data.wal / "RECOVERYXLOG").read_bytes() == plain[names[4]]
    site.end()
