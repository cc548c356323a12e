"""What WAL-G needs to read a backup that it did not make, checked on what walpy stores, without either program.

Parts are read with the codecs' own libraries; formats are compared with a backup that WAL-G 3.0.9 stored.
"""

import json
import lzma
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import brotli
import lz4.frame
import pytest
import zstandard

from tests.fixtures.cluster import DEFAULT_MAJOR, SETTINGS, Cluster, archiving, bin_directory, give, new_base
from tests.fixtures.golden import RICH, golden_archive
from tests.fixtures.require import missing

BLOCK = 512
EXTENSIONS = {"lz4": ".lz4", "zstd": ".zst", "brotli": ".br", "lzma": ".lzma", "none": ""}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(),
    "br": brotli.decompress,
    "lzma": lambda data: lzma.decompress(data, lzma.FORMAT_ALONE),
    "tar": bytes,
}
BACKUP_NAME = re.compile(r"base_[0-9A-F]{24}")
CONTROL_TAR = re.compile(r"^.*?pg_control\.tar(\..+$|$)")  # as WAL-G looks for it
LABEL_TAR = re.compile(r"^.*?backup_label\.tar(\..+$|$)")
NUMBER_FIELDS = {"uid": (108, 7), "gid": (116, 7), "size": (124, 11), "mtime": (136, 11)}
OWNER_FIELDS = {"user": (265, 32), "group": (297, 32)}
CHECKSUM = (148, 8)
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z")
USER_DATA = '{"job":"nightly","n":1,"tags":["a","b"]}'


@dataclass(frozen=True)
class Header:
    """One member of a tar: its name, and the header block that WAL-G takes its fields from."""

    name: str
    block: bytes

    def text(self, start: int, size: int) -> bytes:
        return self.block[start : start + size].rstrip(b"\0")

    def number(self, field: str) -> int:
        start, digits = NUMBER_FIELDS[field]
        text = self.block[start : start + digits + 1]
        assert re.fullmatch(rb"[0-7]{%d}\0" % digits, text), (self.name, field, text)
        return int(text[:-1], 8)

    def without_values(self) -> bytes:
        """The block, without what depends on host and time."""
        block = bytearray(self.block)
        for start, size in (*((start, digits) for start, digits in NUMBER_FIELDS.values()), *OWNER_FIELDS.values()):
            block[start : start + size] = bytes(size)
        block[CHECKSUM[0] : sum(CHECKSUM)] = bytes(CHECKSUM[1])
        return bytes(block)


def pax_path(records: bytes) -> str:
    """The name in PAX records that hold nothing else."""
    length, _, rest = records.partition(b" ")
    assert int(length) == len(records)
    assert rest.startswith(b"path=")
    return rest.removeprefix(b"path=").removesuffix(b"\n").decode()


def members(tar: bytes) -> list[Header]:
    """Members of a tar that ends as WAL-G's do: with two blocks of zeros, and nothing behind."""
    found: list[Header] = []
    position, name = 0, ""
    while (block := tar[position : position + BLOCK]) != bytes(BLOCK):
        header = Header(name, block)
        size = header.number("size")
        data = tar[position + BLOCK : position + BLOCK + size]
        padding = -size % BLOCK
        position += BLOCK + size + padding
        assert tar[position - padding : position] == bytes(padding)
        if block[156:157] == b"x":
            name = pax_path(data)
            continue
        prefix = header.text(345, 155)
        short = (prefix + b"/" if prefix else b"") + header.text(0, 100)
        found.append(Header(name or short.decode(), block))
        name = ""
    assert tar[position:] == bytes(2 * BLOCK)
    return found


@dataclass(frozen=True)
class Backup:
    """A stored backup. folder: of the archive."""

    folder: Path
    name: str

    @property
    def base(self) -> Path:
        return self.folder / "basebackups_005"

    def document(self, name: str) -> dict[str, Any]:
        """metadata, files_metadata or sentinel, its keys in their order."""
        path = self.base / self.name / f"{name}.json"
        if name == "sentinel":
            path = self.base / f"{self.name}_backup_stop_sentinel.json"
        document: dict[str, Any] = json.loads(path.read_bytes())
        assert path.read_bytes()[:1] + path.read_bytes()[-1:] == b"{}"
        return document

    @cached_property
    def tars(self) -> dict[str, list[Header]]:
        """Members of every part, read by what follows the last dot of its name."""
        parts = sorted((self.base / self.name / "tar_partitions").iterdir())
        return {part.name: members(DECODERS[part.name.rpartition(".")[2]](part.read_bytes())) for part in parts}

    @property
    def data_tars(self) -> dict[str, list[Header]]:
        return {
            name: found for name, found in self.tars.items() if not (CONTROL_TAR.match(name) or LABEL_TAR.match(name))
        }

    @property
    def headers(self) -> dict[str, Header]:
        return {header.name: header for found in self.tars.values() for header in found}


@dataclass(frozen=True)
class Scene:
    """A cluster with a tablespace, and one backup of it for each codec."""

    cluster: Cluster
    location: Path
    backups: dict[str, Backup]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    programs = bin_directory(DEFAULT_MAJOR)
    if programs is None:
        missing("postgres", f"no PostgreSQL {DEFAULT_MAJOR} here")
    cluster = Cluster(DEFAULT_MAJOR, programs, new_base())
    try:
        yield make_scene(cluster)
    finally:
        cluster.remove()


def make_scene(cluster: Cluster) -> Scene:
    cluster.initdb()
    storages = {method: cluster.base / f"storage-{method}" for method in EXTENSIONS}
    location = cluster.base / "space"
    for folder in (*storages.values(), location):
        folder.mkdir()
        give(folder)
    settings, environment = archiving(storages["lz4"])
    cluster.environment.update(environment)
    cluster.configure({**SETTINGS, **settings})
    odd = cluster.data_directory / "größe & <mehr>.txt"
    odd.write_text("odd")
    give(odd)
    cluster.start()
    cluster.execute(f"create tablespace space location '{location}'")
    cluster.execute("create table spaced tablespace space as select generate_series(1, 1000) i")
    cluster.execute("create table parted (i int) partition by range (i)")
    cluster.execute("create table part1 partition of parted for values from (0) to (10)")
    cluster.execute("checkpoint")
    return Scene(cluster, location, {method: push(cluster, method, storage) for method, storage in storages.items()})


def push(cluster: Cluster, method: str, storage: Path) -> Backup:
    """Push a backup; WAL goes to the lz4 one's storage alone, so the others do not wait for it."""
    cluster.walpy(
        "backup-push",
        str(cluster.data_directory),
        "--add-user-data",
        USER_DATA,
        WALG_FILE_PREFIX=str(storage),
        WALG_COMPRESSION_METHOD=method,
        WALPY_WAL_WAIT_TIMEOUT="0",
        WALG_TAR_SIZE_THRESHOLD="4000000",  # several parts, as of a bigger cluster
    )
    (sentinel,) = (storage / "basebackups_005").glob("*_backup_stop_sentinel.json")
    return Backup(storage, sentinel.name.removesuffix("_backup_stop_sentinel.json"))


@pytest.fixture(params=EXTENSIONS)
def backup(request: pytest.FixtureRequest, scene: Scene) -> Backup:
    return scene.backups[request.param]


@pytest.fixture
def ours(scene: Scene) -> Backup:
    """The lz4 one; WAL-G's is lz4 too."""
    return scene.backups["lz4"]


@pytest.fixture(scope="module")
def golden() -> Backup:
    """A full backup of PostgreSQL 15 that WAL-G stored, with a tablespace and user data."""
    return Backup(golden_archive(RICH).folder / "archive", "base_000000010000000000000016")


def test_names(backup: Backup) -> None:
    """The list of backups is what ends as a sentinel does; a stray object would become one, or an extension."""
    assert BACKUP_NAME.fullmatch(backup.name)
    assert {path.name for path in backup.base.iterdir()} == {backup.name, f"{backup.name}_backup_stop_sentinel.json"}
    assert {path.name for path in (backup.base / backup.name).iterdir()} == {
        "tar_partitions",
        "metadata.json",
        "files_metadata.json",
    }
    extension = EXTENSIONS[backup.folder.name.removeprefix("storage-")]
    numbered = [f"part_{number:03d}.tar{extension}" for number in range(1, len(backup.tars) - 1)]
    assert len(numbered) > 1
    assert list(backup.tars) == [f"backup_label.tar{extension}", *numbered, f"pg_control.tar{extension}"]


def test_the_control_file_has_a_tar_of_its_own(backup: Backup) -> None:
    (name,) = filter(CONTROL_TAR.match, backup.tars)
    assert [header.name for header in backup.tars[name]] == ["/global/pg_control"]
    assert [tar for tar, found in backup.data_tars.items() if "/global/pg_control" in {one.name for one in found}] == []


def test_labels_have_no_slash(backup: Backup) -> None:
    (name,) = filter(LABEL_TAR.match, backup.tars)
    assert [header.name for header in backup.tars[name]] == ["backup_label", "tablespace_map"]


def test_members_are_the_files_of_the_list(backup: Backup) -> None:
    """A member whose name is not a key of Files is not extracted; a data tar that is not in TarFileSets not read."""
    files = backup.document("files_metadata")
    stored = {name: [header.name for header in found] for name, found in backup.data_tars.items()}
    names = [name for found in stored.values() for name in found]
    assert all(name.startswith("/") for name in names)
    assert len(set(names)) == len(names)
    assert set(names) == set(files["Files"])
    (label,) = filter(LABEL_TAR.match, backup.tars)
    assert files["TarFileSets"] == {**stored, label: ["tablespace_map", "backup_label"]}


def test_a_delta_can_be_based_on_it(ours: Backup, scene: Scene) -> None:
    """WAL-G compares modification times to the nanosecond: a rounded one stores an unchanged file again."""
    files = ours.document("files_metadata")["Files"]
    (oid,) = ours.document("sentinel")["Spec"]["tablespaces"]
    places = {name: scene.cluster.data_directory / name[1:] for name in files}
    places.update(
        {name: scene.location / name.split("/", 3)[3] for name in files if name.startswith(f"/pg_tblspc/{oid}/")}
    )
    relations = [name for name, place in places.items() if re.fullmatch(r"\d+(_[a-z]+)?", place.name)]
    assert len(relations) > 500
    assert any(name.startswith("/pg_tblspc/") for name in relations)
    unequal = {name for name in relations if nanoseconds(files[name]["MTime"]) != places[name].lstat().st_mtime_ns}
    assert len(unequal) < 20  # written since: it is a running server
    assert all(
        (entry["IsIncremented"], entry["IsSkipped"], entry["UpdatesCount"]) == (False, False, 0)
        for entry in files.values()
    )


def nanoseconds(text: str) -> int:
    """An instant as WAL-G writes it, since the epoch."""
    match = re.fullmatch(r"(\d+-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,8}[1-9]))?(Z|[+-]\d\d:\d\d)", text)
    assert match, text
    seconds = int(datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp())
    return seconds * 10**9 + int((match[2] or "0").ljust(9, "0"))


def test_a_full_backup_says_nothing_of_deltas(backup: Backup) -> None:
    """WAL-G panics on a sentinel that has only some of these."""
    assert not [key for key in backup.document("sentinel") if key.startswith("Delta")]


@pytest.mark.parametrize("name", ["sentinel", "metadata"])
def test_documents_have_the_keys_of_wal_g_in_its_order(name: str, ours: Backup, golden: Backup) -> None:
    written, expected = ours.document(name), golden.document(name)
    assert list(written) == list(expected)
    assert {key: type(value) for key, value in written.items()} == {key: type(value) for key, value in expected.items()}
    times = [value for key, value in written.items() if key.lower().endswith("time")]
    assert len(times) == 2
    assert all(UTC_TIME.fullmatch(value) for value in times)


@pytest.mark.parametrize("key", ["DateFmt", "Version", "ChkpNum", "UserData"])
def test_constants_of_the_sentinel(key: str, ours: Backup, golden: Backup) -> None:
    assert ours.document("sentinel")[key] == golden.document("sentinel")[key]


def test_sentinel_and_metadata_agree(backup: Backup) -> None:
    sentinel, metadata = backup.document("sentinel"), backup.document("metadata")
    for key, same in {
        "LSN": "start_lsn",
        "FinishLSN": "finish_lsn",
        "PgVersion": "pg_version",
        "SystemIdentifier": "system_identifier",
        "UncompressedSize": "uncompressed_size",
        "CompressedSize": "compressed_size",
        "StartTime": "start_time",
        "FinishTime": "finish_time",
        "DateFmt": "date_fmt",
        "Hostname": "hostname",
        "DataDir": "data_dir",
        "IsPermanent": "is_permanent",
        "UserData": "user_data",
    }.items():
        assert sentinel[key] == metadata[same]


def test_sizes(backup: Backup) -> None:
    sentinel = backup.document("sentinel")
    parts = (backup.base / backup.name / "tar_partitions").iterdir()
    assert sentinel["CompressedSize"] == sum(part.stat().st_size for part in parts)
    assert sentinel["UncompressedSize"] == sum(header.number("size") for header in backup.headers.values())


def test_the_list_of_files_has_the_form_of_wal_g_s(ours: Backup, golden: Backup) -> None:
    written, expected = ours.document("files_metadata"), golden.document("files_metadata")
    assert list(written) == list(expected)
    shapes = [{tuple(entry) for entry in files["Files"].values()} for files in (written, expected)]
    assert shapes[0] == shapes[1]
    tables = written["DatabasesByNames"]["postgres"]["tables_new"]
    assert list(written["DatabasesByNames"]["postgres"]) == ["oid", "tables_new"]
    assert list(tables["public.spaced"]) == ["oid", "relfilenode"]
    assert list(tables["public.parted"]) == ["oid", "relfilenode", "subtables"]
    assert list(tables["public.parted"]["subtables"]) == ["public.part1"]
    known = {"pg_catalog.pg_class", "pg_catalog.pg_proc_oid_index", "pg_toast.pg_toast_1255"}
    assert known <= tables.keys()
    assert known <= expected["DatabasesByNames"]["postgres"]["tables_new"].keys()


def test_tablespaces_are_described(ours: Backup, golden: Backup, scene: Scene) -> None:
    spec = ours.document("sentinel")["Spec"]
    (oid,) = spec["tablespaces"]
    assert spec == {
        oid: {"loc": str(scene.location), "link": f"pg_tblspc/{oid}"},
        "base_prefix": str(scene.cluster.data_directory),
        "tablespaces": [oid],
    }
    theirs = golden.document("sentinel")["Spec"]
    assert list(spec)[1:] == list(theirs)[1:]  # keys in byte order: numbers first
    # Neither the tablespace nor its link is a member: a restore makes the link.
    assert f"/pg_tblspc/{oid}" not in ours.headers
    assert any(name.startswith(f"/pg_tblspc/{oid}/PG_15_") for name in ours.headers) or DEFAULT_MAJOR != 15


def test_the_same_objects_of_a_cluster_are_stored(ours: Backup, golden: Backup) -> None:
    """Outside databases: what WAL-G stores, and its directories, empty where it leaves out what is in them."""
    written, expected = (
        {name: header.block[156:157] for name, header in backup.headers.items() if name.count("/") == 1}
        for backup in (ours, golden)
    )
    assert {name: kind for name, kind in written.items() if not name.startswith("/größe")} == {
        name: kind for name, kind in expected.items() if name != "/pg_internal.init"
    }
    empty = ("/pg_wal", "/pg_replslot", "/pg_dynshmem", "/pg_notify", "/pg_serial", "/pg_snapshots", "/pg_subtrans")
    for directory in (*empty, "/pg_stat_tmp"):
        assert directory in written
        assert not [name for name in ours.headers if name.startswith(f"{directory}/")]


def test_headers_are_wal_g_s(ours: Backup, golden: Backup) -> None:
    """Byte for byte, but for owner, size and time, which are checked below."""
    common = ours.headers.keys() & golden.headers.keys()
    assert len(common) > 30
    assert {"/", "/base", "/global", "/PG_VERSION", "/global/pg_control", "backup_label", "tablespace_map"} <= common
    for name in common:
        assert ours.headers[name].without_values() == golden.headers[name].without_values(), name


def test_values_of_headers(ours: Backup, scene: Scene) -> None:
    for name in ("/", "/base", "/PG_VERSION", "/pg_wal", "/postgresql.conf", "/größe & <mehr>.txt"):
        status = os.lstat(scene.cluster.data_directory / name[1:])
        header = ours.headers[name]
        assert (header.number("uid"), header.number("gid")) == (status.st_uid, status.st_gid)
        if name not in ("/", "/pg_wal"):  # which change all the time
            assert header.number("mtime") == (status.st_mtime_ns + 500_000_000) // 10**9
    for name in ("backup_label", "tablespace_map"):
        header = ours.headers[name]
        assert [header.number(field) for field in ("uid", "gid", "mtime")] == [0, 0, 0]
        assert [header.text(*place) for place in OWNER_FIELDS.values()] == [b"", b""]


def test_a_name_beyond_ascii_is_in_pax_and_its_rest_in_the_header(ours: Backup) -> None:
    header = ours.headers["/größe & <mehr>.txt"]
    assert header.text(0, 100) == b"/gre & <mehr>.txt"
    assert "/größe & <mehr>.txt" in ours.document("files_metadata")["Files"]
    text = (ours.base / ours.name / "files_metadata.json").read_text()
    assert '"/größe & <mehr>.txt":' in text  # WAL-G escapes neither in this document


def test_what_is_walpy_s_own_is_out_of_the_way(scene: Scene) -> None:
    """WAL-G's delete, copy and list look into these two folders."""
    for backup in scene.backups.values():
        assert {path.name for path in backup.folder.iterdir()} <= {"basebackups_005", "wal_005", "walpy_005"}
        assert not [path for path in (backup.folder / "walpy_005").rglob("*") if re.search("[0-9A-F]{24}", path.name)]
