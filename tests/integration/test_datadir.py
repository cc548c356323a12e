"""The walk and the page verification on a real data directory."""

import os
import threading
from pathlib import Path

from tests.fixtures.cluster import Cluster, client_program
from tests.fixtures.postgres import ClusterFactory
from walpy.config import Config
from walpy.postgres.datadir import Listing, walk
from walpy.postgres.entry import Entry
from walpy.postgres.page import relation_segment
from walpy.postgres.server import connect
from walpy.postgres.verifier import PageVerifier

PAGE_SIZE = 8192
BUFFER_SIZE = 1 << 20


def config(cluster: Cluster) -> Config:
    """Configuration that connects to a cluster."""
    place = {"PGHOST": str(cluster.socket_directory), "PGPORT": str(cluster.port)}
    return Config.from_mapping({**place, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGAPPNAME": "wal-g"})


def corrupt(entry: Entry, start_lsn: int) -> list[int]:
    """Corrupt blocks of a file, read a buffer at a time as a backup does."""
    assert relation_segment(entry.name) is not None
    verifier = PageVerifier(PAGE_SIZE, start_lsn)
    with open(entry.path, "rb") as file:
        for offset in range(0, entry.size, BUFFER_SIZE):
            verifier.add(entry.name, entry.path, offset, memoryview(file.read(BUFFER_SIZE)))
    verifier.finish()
    return verifier.corrupt.get(entry.name, [])


def relation_files(listing: Listing) -> list[Entry]:
    """Files whose pages have checksums."""
    return [entry for entry in listing.entries if entry.is_file and relation_segment(entry.name) is not None]


def files_below(root: Path) -> set[str]:
    """Names of all files below a directory, through links."""
    found = set()
    for folder, _, files in os.walk(root, followlinks=True):
        found |= {os.path.join(folder, file).removeprefix(str(root)) for file in files}
    return found


def test_the_walk_finds_what_pg_basebackup_copies(postgres: Cluster) -> None:
    location = postgres.base / "space"
    postgres.run(["mkdir", str(location)])
    postgres.execute(f"CREATE TABLESPACE space LOCATION '{location}'")
    postgres.execute("CREATE TABLE kept (id int) TABLESPACE space; INSERT INTO kept VALUES (1)")
    postgres.execute("CREATE UNLOGGED TABLE scratch (id int)")
    scratch = "/" + postgres.execute("SELECT pg_relation_filepath('scratch')")
    postgres.execute("CHECKPOINT")
    copy = postgres.base / "copy"
    command = [client_program("pg_basebackup"), "-D", str(copy), "-X", "none", "-c", "fast", "--no-manifest", "-U"]
    postgres.run([*command, "postgres", f"--tablespace-mapping={location}={postgres.base / 'space-copy'}"])
    listing = walk(str(postgres.data_directory))
    found = {entry.name for entry in listing.entries if entry.is_file} | {listing.control.name}
    copied = files_below(copy) - {"/backup_label", "/tablespace_map"}
    assert found - copied == {scratch}  # as WAL-G, which stores unlogged relations whole
    assert copied - found == set()
    directories = {entry.name for entry in listing.entries if not entry.is_file}
    assert {"/", "/base", "/pg_wal", "/pg_notify", "/pg_replslot", "/pg_stat_tmp", "/pg_tblspc"} <= directories
    assert listing.tablespaces[0].location == str(location)


def test_pages_of_a_busy_server_are_right(make_cluster: ClusterFactory) -> None:
    cluster = make_cluster(settings={"shared_buffers": "1MB", "bgwriter_delay": "10ms"})
    cluster.execute("CREATE TABLE busy AS SELECT n AS id, repeat('x', 200) AS filler FROM generate_series(1, 20000) n")
    cluster.execute("VACUUM busy")
    cluster.execute("CHECKPOINT")
    with connect(config(cluster)) as server, connect(config(cluster)) as writer:
        started = server.start_backup("verified")
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                writer.query("writing", "UPDATE public.busy SET filler = repeat('y', 200) WHERE id % 3 = 0 RETURNING 1")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(3):
                files = relation_files(walk(str(cluster.data_directory)))
                assert len(files) > 100
                assert [entry.name for entry in files if corrupt(entry, started.lsn)] == []
        finally:
            stop.set()
            thread.join()
        server.stop_backup()


def test_a_damaged_page_is_found(make_cluster: ClusterFactory) -> None:
    cluster = make_cluster()
    cluster.execute("CREATE TABLE damaged AS SELECT repeat('x', 2000) FROM generate_series(1, 50)")
    path = cluster.data_directory / cluster.execute("SELECT pg_relation_filepath('damaged')")
    cluster.execute("CHECKPOINT")
    with path.open("r+b") as file:
        file.seek(3 * PAGE_SIZE + 5000)
        file.write(b"?")
    with connect(config(cluster)) as server:
        started = server.start_backup("damaged")
        files = relation_files(walk(str(cluster.data_directory)))
        found = {entry.path: corrupt(entry, started.lsn) for entry in files}
        server.stop_backup()
    assert {name: blocks for name, blocks in found.items() if blocks} == {str(path): [3]}
