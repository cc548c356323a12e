"""backup-fetch of chains, in this process, on small chains that say for each file what each member holds of it."""

import os
import random
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.stored_backup import DIRECTORIES, StoredBackup, tar
from tests.fixtures.stored_chain import NEEDED, PAGE, StoredChain, increment, pages
from walpy import layout
from walpy.backup.catalog import BackupSelector
from walpy.backup.entry import FileEntry
from walpy.backup.fetch import FetchOptions, FetchSummary, backup_fetch
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.increment import encode_head
from walpy.backup.model import Spec, Tablespace
from walpy.backup.timestamp import ZERO_TIME
from walpy.config import Config
from walpy.errors import BackupError, DataCorrupt
from walpy.progress import SilentProgress

TABLE = "/base/1/1000"
NO_OPTIONS = FetchOptions()


@pytest.fixture
def chain(tmp_path: Path) -> StoredChain:
    (tmp_path / "archive").mkdir()
    return StoredChain(tmp_path / "archive")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "data"


def fetched(chain: StoredChain, destination: Path, options: FetchOptions = NO_OPTIONS, **settings: str) -> FetchSummary:
    """Restore the newest backup."""
    values = {key: setting.value for key, setting in chain.newest.config.settings.items()}
    config = Config.from_mapping({**values, **settings})
    return backup_fetch(config, str(destination), BackupSelector(chain.newest.name), options, SilentProgress())


def table(destination: Path, name: str = TABLE) -> str:
    """A file's pages, a letter each, as pages() takes them; a dot is a page of zeros."""
    data = (destination / name.strip("/")).read_bytes()
    letters = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    assert all(page == page[:1] * PAGE for page in letters)
    return "".join(chr(page[0]) if page[0] else "." for page in letters)


def extracted(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Data parts that were read."""
    return [line.split()[-1] for line in caplog.messages if line.startswith("Finished extraction of part_")]


# ---- what a file has been through: its full backup, then (whole or increment or neither) of each delta


HISTORIES: Mapping[str, tuple[str, list[bytes | str | None], str]] = {
    "changed": ("abcd", [increment(4, {1: "X", 3: "Y"})], "aXcY"),
    "changed twice": ("abcd", [increment(4, {1: "X", 3: "Y"}), increment(4, {1: "Z"})], "aZcY"),
    "skipped over": ("abcd", [None, increment(4, {0: "X"}), None, None], "Xbcd"),
    "only touched": ("abcd", [increment(4, {})], "abcd"),
    "shrunk": ("abcd", [increment(2, {})], "ab"),
    "shrunk and changed": ("abcd", [increment(2, {1: "X"})], "aX"),
    "grown": ("ab", [increment(5, {2: "c", 3: "d", 4: "e"})], "abcde"),
    "grown, with pages that nobody wrote": ("ab", [increment(5, {4: "e"})], "ab..e"),
    "shrunk and grown again": ("abcd", [increment(1, {}), increment(3, {1: "X"})], "aX."),
    "whole after an increment": ("abcd", [increment(4, {1: "X"}), "WW", increment(3, {2: "Z"})], "WWZ"),
    "whole at the end": ("abcd", [increment(4, {1: "X"}), "new"], "new"),
    "pages behind the size": ("ab", [increment(3, {1: "X", 2: "Y", 3: "Z", 9: "Z"})], "aXY"),
    "pages in a row and apart": ("a" * 40, [increment(40, dict.fromkeys([0, 1, 2, 5, 30, 39], "X"))], None),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_is_what_it_was(history: str, reverse: bool, chain: StoredChain, destination: Path) -> None:
    first, changes, expected = HISTORIES[history]
    if expected is None:
        expected = "".join("X" if number in (0, 1, 2, 5, 30, 39) else "a" for number in range(40))
    chain.add({TABLE: pages(first)})
    for change in changes:
        whole = {TABLE: pages(change)} if isinstance(change, str) else {}
        changed = {TABLE: change} if isinstance(change, bytes) else {}
        chain.add(whole, changed, [TABLE] if change is None else [])
    fetched(chain.store(), destination, FetchOptions(reverse_unpack=reverse, skip_redundant_tars=reverse))
    assert table(destination) == expected
    assert stat.S_IMODE((destination / TABLE.strip("/")).stat().st_mode) == 0o600


@pytest.mark.parametrize("seed", range(40))
def test_any_history(seed: int, chain: StoredChain, destination: Path) -> None:
    """Files that grow, shrink and change at random, small and large ones, against the same changes in memory."""
    chosen = random.Random(seed)
    names = [f"/base/1/{number}" for number in range(4)]
    now = {name: [chosen.choice("abc") for _ in range(chosen.choice([0, 3, 90]))] for name in names}
    chain.add({name: pages("".join(now[name])) for name in names})
    for step in range(5):
        whole, changed, skipped = {}, {}, []
        for name in names:
            kind = chosen.choice(["whole", "changed", "changed", "changed", "skipped"])
            if kind == "skipped":
                skipped.append(name)
                continue
            size = max(0, len(now[name]) + chosen.choice([0, 0, 0, 2, -2, 40, -40, -200]))
            new = {page: "VWXYZ"[step] for page in range(size) if chosen.random() < chosen.choice([0, 0.1, 0.9])}
            if kind == "whole":
                now[name] = ["w"] * size
                whole[name] = pages("w" * size)
                continue
            now[name] = (now[name] + ["."] * size)[:size]
            for page, letter in new.items():
                now[name][page] = letter
            changed[name] = increment(size, new)
        chain.add(whole, changed, skipped)
    fetched(chain.store(), destination)
    assert {name: table(destination, name) for name in names} == {name: "".join(now[name]) for name in names}


def test_each_page_is_written_once(chain: StoredChain, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next backup changes need not be written before."""
    chain.add({TABLE: pages("a" * 100), "/base/1/2": pages("b" * 40)})
    for letter in "WXYZ":
        chain.add({}, {TABLE: increment(100, dict.fromkeys(range(0, 100, 2), letter))}, ["/base/1/2"])
    written: Counter[str] = Counter()
    for name in ("write", "pwrite"):
        call = getattr(os, name)

        def counting(descriptor: int, data: bytes, *rest: int, call: Callable[..., int] = call) -> int:
            written[os.readlink(f"/proc/self/fd/{descriptor}")] += len(data)
            return call(descriptor, data, *rest)

        monkeypatch.setattr(os, name, counting)
    fetched(chain.store(), destination, WALG_DOWNLOAD_CONCURRENCY="1")
    assert table(destination) == "Za" * 50
    assert written[str(destination / TABLE[1:])] == 100 * PAGE
    assert written[str(destination / "base/1/2")] == 40 * PAGE


def test_pages_of_two_sizes_are_refused(chain: StoredChain, destination: Path) -> None:
    """One server has one size of pages; a delta of another would be put in wrong places."""
    chain.add({TABLE: pages("abcd")})
    chain.add({}, {TABLE: encode_head(4 * PAGE, [1]) + bytes(2 * PAGE)})
    chain.add({}, {TABLE: increment(4, {0: "X"})})
    with pytest.raises(DataCorrupt, match="'base/1/1000': increments of one file have pages of 8192 and 16384 bytes"):
        fetched(chain.store(), destination)


def test_files_that_are_new_and_deleted(chain: StoredChain, destination: Path) -> None:
    """A directory of a dropped database does not come back; what WAL-G restores of it is empty."""
    directories = {**DIRECTORIES, "/base/7": 0o700}
    chain.add({"/base/7/1": b"dropped", "/base/1/2": b"deleted"}, directories=directories)
    chain.add({"/base/7/1": b"dropped"}, skipped=["/base/1/2"], directories=directories)
    chain.add({"/base/1/3": b"new"})
    fetched(chain.store(), destination)
    assert (destination / "base/1/3").read_bytes() == b"new"
    assert not (destination / "base/1/2").exists()
    assert not (destination / "base/7").exists()
    assert (destination / "PG_VERSION").read_bytes() == NEEDED["/PG_VERSION"]


def test_label_and_control_file_are_the_newest_s(chain: StoredChain, destination: Path) -> None:
    chain.add({"/backup_label": b"stale"})
    chain.add({}, skipped=["/backup_label"])  # from a server that has had one of an older restore
    chain.add({})
    fetched(chain.store(), destination)
    assert (destination / "backup_label").read_bytes() == chain.newest.name.encode()
    assert (destination / "global/pg_control").read_bytes() == b"\x02" * PAGE


def test_what_is_told(chain: StoredChain, destination: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    chain.add({TABLE: pages("ab"), "/base/1/1": b"x"})
    chain.add({"/base/1/2": b"y"}, {TABLE: increment(2, {0: "X"})}, ["/base/1/1"])
    full, delta = (member.name for member in chain.members)
    summary = fetched(chain.store(), destination)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("walpy.backup")]
    assert lines[2:-2] == [
        f"Delta from {full} at LSN 0/1000000",
        "Finished extraction of part_001.tar.lz4",
        "Finished extraction of backup_label.tar.lz4",
        "Finished extraction of part_001.tar.lz4",
        "Backup extraction complete.",
        f"{full} fetched. Upgrading from LSN 0/1000000 to LSN 0/2000000",
        "Finished extraction of pg_control.tar.lz4",
        "Backup extraction complete.",
    ]
    assert (summary.backup, summary.files) == (delta, len(NEEDED) + 6)
    read = [member.object(part) for member in chain.members for part in ("part_001",)]
    special = [chain.newest.object(part) for part in ("pg_control", "backup_label")]
    assert summary.stored_size == sum(path.stat().st_size for path in read + special)


def test_parts_without_wanted_files_are_not_read(
    chain: StoredChain, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when they are damaged. A file that a later backup has whole is not wanted."""
    caplog.set_level("INFO")
    full = chain.add({TABLE: pages("ab")})
    full.parts["part_002"] = b"damaged" * 100
    full.parts["part_003"] = tar({"/base/1/3": b"kept"})
    assert full.files
    others = {"/base/1/2": FileEntry(ZERO_TIME), "/base/1/3": FileEntry(ZERO_TIME)}
    sets = {"part_002.tar.lz4": ("/base/1/2", "/gone"), "part_003.tar.lz4": ("/base/1/3",)}
    full.files = FilesMetadata({**full.files.files, **others}, {**full.files.tar_file_sets, **sets})
    chain.add({"/base/1/2": b"new"}, skipped=["/base/1/3", TABLE])
    fetched(chain.store(), destination)
    assert (destination / "base/1/2").read_bytes() == b"new"
    assert (destination / "base/1/3").read_bytes() == b"kept"
    assert sorted(extracted(caplog)) == ["part_001.tar.lz4", "part_001.tar.lz4", "part_003.tar.lz4"]


def test_a_base_that_has_nothing_is_not_read(
    chain: StoredChain, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    chain.add({TABLE: pages("ab")})
    whole = chain.add({**NEEDED, TABLE: pages("AB")})
    assert whole.files
    whole.files = replace(whole.files, files=dict.fromkeys(whole.files.files, FileEntry(ZERO_TIME)))
    chain.store()
    chain.members[0].object("part_001").unlink()
    (chain.folder / layout.files_metadata(chain.members[0].name)).write_text("{")
    fetched(chain, destination)
    assert table(destination) == "AB"
    assert extracted(caplog) == ["part_001.tar.lz4"]


def test_many_parts_go_through_worker_processes(chain: StoredChain, destination: Path) -> None:
    """Several increments at once, over one base."""
    names = [f"/base/1/{number}" for number in range(20, 28)]
    for content in (pages("abc"), increment(3, {1: "X"})):
        backup = chain.add({})
        assert backup.files
        backup.parts |= {f"part_{name[8:]}": tar({name: content}) for name in names}
        entry = FileEntry(ZERO_TIME, is_incremented=len(chain.members) == 2)
        sets = {f"part_{name[8:]}.tar.lz4": (name,) for name in names}
        entries = {**backup.files.files, **dict.fromkeys(names, entry)}
        backup.files = FilesMetadata(entries, {**backup.files.tar_file_sets, **sets})
    fetched(chain.store(), destination)
    assert {table(destination, name) for name in names} == {"aXc"}


def test_tablespaces_of_the_newest_count(chain: StoredChain, destination: Path, tmp_path: Path) -> None:
    name = "/pg_tblspc/16384/PG_15/1/2"
    directories = {**DIRECTORIES, "/pg_tblspc/16384/PG_15": 0o700}
    specs = [Spec("/old", (Tablespace("16384", str(tmp_path / place), "pg_tblspc/16384"),)) for place in ("t1", "t2")]
    chain.add({name: pages("ab")}, directories=directories)
    chain.add({}, {name: increment(2, {0: "X"})}, directories=directories)
    for member, spec in zip(chain.members, specs, strict=True):
        member.sentinel = member.sentinel._replace(spec=spec)
    fetched(chain.store(), destination)
    assert table(tmp_path / "t2/PG_15/1", "2") == "Xb"
    assert not (tmp_path / "t1").exists()
    assert os.readlink(destination / "pg_tblspc/16384") == str(tmp_path / "t2")


@pytest.mark.parametrize("masked", ["base/1/*", "base/1/1000"])
def test_a_mask(masked: str, chain: StoredChain, destination: Path) -> None:
    chain.add({TABLE: pages("ab"), "/other": b"x"})
    chain.add({}, {TABLE: increment(2, {0: "X"})}, ["/other"])
    fetched(chain.store(), destination, FetchOptions(mask=masked))
    assert table(destination) == "Xb"
    assert [path.name for path in destination.rglob("*") if path.is_file()] == ["1000"]


# ---- bases without a list


def test_a_base_without_a_list(chain: StoredChain, destination: Path) -> None:
    """Its names may have no slash, as in remote backups. WAL-G stores all whole then; others need not."""
    full = chain.add({})
    full.parts["part_001"] = tar({"PG_VERSION": b"15\n", "global/pg_filenode.map": b"m", "base/1/1000": pages("ab")})
    full.sentinel = full.sentinel._replace(files_metadata_disabled=True)
    chain.add({}, {TABLE: increment(2, {0: "X"})})
    fetched(chain.store(), destination)
    assert table(destination) == "Xb"
    assert (destination / "PG_VERSION").exists()


def test_a_base_without_a_list_and_without_a_file(chain: StoredChain, destination: Path) -> None:
    full = chain.add({})
    full.sentinel = full.sentinel._replace(files_metadata_disabled=True)
    chain.add({}, {TABLE: increment(2, {0: "X"})})
    with pytest.raises(BackupError, match=f"restore of {full.name} is incomplete, 1 files are missing: base/1/1000"):
        fetched(chain.store(), destination)
    assert not (destination / "global/pg_control").exists()


def test_a_delta_without_a_list_is_refused(chain: StoredChain, destination: Path) -> None:
    chain.add({})
    delta = chain.add({})
    delta.sentinel = delta.sentinel._replace(files_metadata_disabled=True)
    with pytest.raises(BackupError, match=f"{delta.name} is a delta without its list of files"):
        fetched(chain.store(), destination)
    assert not destination.exists()


# ---- what is missing is named, before anything is written


def long_chain(chain: StoredChain) -> tuple[StoredBackup, StoredBackup, StoredBackup]:
    full = chain.add({TABLE: pages("ab")})
    middle = chain.add({}, {TABLE: increment(2, {0: "X"})})
    return full, middle, chain.add({}, {TABLE: increment(2, {1: "Y"})})


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_sentinel(lost: int, chain: StoredChain, destination: Path) -> None:
    long_chain(chain)
    gone = layout.sentinel(chain.store().members[lost].name)
    (chain.folder / gone).unlink()
    with pytest.raises(BackupError, match=f"whose sentinel '{gone}' is missing"):
        fetched(chain, destination)
    assert not destination.exists()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_part(lost: int, chain: StoredChain, destination: Path) -> None:
    long_chain(chain)
    member = chain.store().members[lost]
    member.object("part_001").rename(member.object("part_009"))
    with pytest.raises(BackupError, match=rf"backup {member.name} has lost part_001\.tar\.lz4"):
        fetched(chain, destination)
    assert not destination.exists()


def test_a_lost_label(chain: StoredChain, destination: Path) -> None:
    """A server would start without recovery, from files of different moments."""
    chain.add({})
    chain.store().newest.object("backup_label").unlink()
    with pytest.raises(BackupError, match=r"has lost backup_label\.tar\.lz4"):
        fetched(chain, destination)


def test_a_lost_control_file_is_missed_in_the_newest_alone(chain: StoredChain, destination: Path) -> None:
    long_chain(chain)
    chain.store().members[1].object("pg_control").unlink()
    fetched(chain, destination)
    chain.newest.object("pg_control").unlink()
    with pytest.raises(BackupError, match="has no pg_control tar"):
        fetched(chain, destination.with_name("data2"))


def test_a_file_that_no_base_lists(chain: StoredChain, destination: Path) -> None:
    full = chain.add({})
    delta = chain.add({}, skipped=["/base/1/lost"])
    with pytest.raises(BackupError, match=f"backup {full.name} lacks base/1/lost"):
        fetched(chain.store(), destination)
    assert delta.name == chain.newest.name
    assert not destination.exists()


def test_a_file_that_did_not_arrive_from_a_base(chain: StoredChain, destination: Path) -> None:
    full = chain.add({})
    assert full.files
    full.files = FilesMetadata({**full.files.files, TABLE: FileEntry(ZERO_TIME)}, full.files.tar_file_sets)
    chain.add({}, skipped=[TABLE])
    with pytest.raises(BackupError, match=f"restore of {full.name} is incomplete, 1 files are missing: base/1/1000"):
        fetched(chain.store(), destination)


@pytest.mark.parametrize("field", ["delta_lsn", "delta_full_name", "delta_count"])
def test_an_incomplete_sentinel(field: str, chain: StoredChain, destination: Path) -> None:
    long_chain(chain)
    chain.members[1].sentinel = chain.members[1].sentinel._replace(**{field: None})  # type: ignore[arg-type]
    with pytest.raises(DataCorrupt, match=f"sentinel '.*{chain.members[1].name}.*' has DeltaFrom but no Delta"):
        fetched(chain.store(), destination)


def test_a_circle(chain: StoredChain, destination: Path) -> None:
    full, _, newest = long_chain(chain)
    fields = {"delta_from": newest.name, "delta_full_name": full.name, "delta_lsn": newest.sentinel.lsn}
    full.sentinel = full.sentinel._replace(delta_count=1, **fields)  # type: ignore[arg-type]
    with pytest.raises(BackupError, match=f"{full.name} is a delta of {newest.name}, which is a delta of it"):
        fetched(chain.store(), destination)


def test_a_base_of_another_moment_or_cluster(chain: StoredChain, destination: Path) -> None:
    full, *_ = long_chain(chain)
    full.sentinel = full.sentinel._replace(lsn=(1 << 24) + 8)
    with pytest.raises(BackupError, match="of LSN 0/1000000, but the archive's was taken at 0/1000008"):
        fetched(chain.store(), destination)
    full.sentinel = full.sentinel._replace(lsn=1 << 24, system_identifier=8)
    with pytest.raises(BackupError, match="are of different clusters"):
        fetched(chain.store(), destination)
    assert not destination.exists()


def test_a_full_backup_with_increments(chain: StoredChain, destination: Path) -> None:
    chain.add({}, {TABLE: increment(1, {0: "a"})})
    with pytest.raises(DataCorrupt, match="is full, but its list has changes of base/1/1000"):
        fetched(chain.store(), destination)


# ---- damage


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pages("ab"), "no increment: it begins with b'aaaa'"),
        (increment(2, {0: "X"})[:-1], "an increment of 8211 bytes with 1 pages"),
        (increment(2, {0: "X"}) + b"\0", "an increment of 8213 bytes with 1 pages"),
        (b"wi", "an increment of 2 bytes"),
    ],
)
def test_a_damaged_increment(data: bytes, reason: str, chain: StoredChain, destination: Path) -> None:
    chain.add({TABLE: pages("ab")})
    chain.add({}, {TABLE: data})
    with pytest.raises(DataCorrupt, match=rf"part_001\.tar\.lz4' is damaged: member 'base/1/1000': {reason}") as raised:
        fetched(chain.store(), destination)
    assert "without pg_control" in raised.value.hint
    assert not (destination / "global/pg_control").exists()


def test_two_parts_with_the_same_increment(chain: StoredChain, destination: Path) -> None:
    chain.add({TABLE: pages("ab")})
    delta = chain.add({}, {TABLE: increment(2, {0: "X"})})
    assert delta.files
    delta.parts["part_002"] = tar({TABLE: increment(2, {0: "Y"})})
    delta.files = replace(delta.files, tar_file_sets={**delta.files.tar_file_sets, "part_002.tar.lz4": (TABLE,)})
    with pytest.raises(BackupError, match="two parts of the backup hold the file 'base/1/1000'"):
        fetched(chain.store(), destination)
