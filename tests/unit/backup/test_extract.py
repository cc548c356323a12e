"""What a worker writes, and what it refuses to."""

import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.stored_backup import CONTROL, DIRECTORIES, FILES, StoredBackup, tar
from walpy.backup import extract
from walpy.backup.extract import ExtractPlan, PartJob, PartResult, extract_part, relative_name, start_worker
from walpy.backup.increment import Increment, encode_head
from walpy.backup.newer_pages import NewerPages, PagesReader, PagesWriter
from walpy.config import Config, Setting
from walpy.errors import BackupError, DataCorrupt, ObjectMissing, StorageUnavailable
from walpy.storage.base import Chunk, Storage


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(mode=0o700)
    return tmp_path / "data"


@pytest.fixture
def backup(tmp_path: Path) -> StoredBackup:
    (tmp_path / "archive").mkdir()
    return StoredBackup(tmp_path / "archive")


def plan(destination: Path, **changes: object) -> ExtractPlan:
    return ExtractPlan(str(destination), **changes)  # type: ignore[arg-type]


def extracted(backup: StoredBackup, plan: ExtractPlan, data: bytes | None = None, **of_job: object) -> PartResult:
    """Extract one part with the given content, in this process. of_job: what else its job says."""
    if data is not None:
        backup.parts["part_001"] = data
    backup.store()
    start_worker(backup.config, plan)
    return extract_part(job_of(backup, **of_job), lambda count: None)


def job_of(backup: StoredBackup, **more: object) -> PartJob:
    path = backup.object("part_001")
    extension = path.suffix.removeprefix(".").removeprefix("tar")
    return PartJob(str(path.relative_to(backup.folder)), extension, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["lz4", "zstd", "brotli", "lzma", "none"])
def test_every_codec(method: str, backup: StoredBackup, destination: Path) -> None:
    backup.method = method
    result = extracted(backup, plan(destination))
    assert set(result.files) == {name.strip("/") for name in FILES}
    assert dict(result.directories) == {name.strip("/"): mode for name, mode in DIRECTORIES.items()}
    assert result.size == sum(map(len, FILES.values()))
    for name, data in FILES.items():
        path = destination / name.strip("/")
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_modes_are_cut_to_permissions(backup: StoredBackup, destination: Path) -> None:
    data = bytearray(tar({"/a": b"", "/b": b""}))
    data[100:108] = b"0004755\0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    extracted(backup, plan(destination), bytes(data))
    assert stat.S_IMODE((destination / "a").stat().st_mode) == 0o755


def test_missing_parents_are_made_for_the_owner_alone(backup: StoredBackup, destination: Path) -> None:
    extracted(backup, plan(destination), tar({"base/7/1": b"x"}))
    assert stat.S_IMODE((destination / "base/7").stat().st_mode) == 0o700


def test_restored_files_are_new_to_a_later_delta(backup: StoredBackup, destination: Path) -> None:
    extracted(backup, plan(destination), tar({"/a": b""}))
    assert (destination / "a").stat().st_mtime > 1_500_000_000  # the tar says 1970


@pytest.mark.parametrize("reserves_room", [True, False])
def test_a_large_file_is_whole(reserves_room: bool, backup: StoredBackup, destination: Path) -> None:
    data = os.urandom(9_000_001)
    extracted(backup, plan(destination, reserves_room=reserves_room), tar({"/base/1/2": data}))
    assert (destination / "base/1/2").read_bytes() == data


def test_pg_control_goes_where_the_plan_says(backup: StoredBackup, destination: Path) -> None:
    data = tar({"global/pg_control": CONTROL, "x": b""})
    assert extracted(backup, plan(destination), data).files == ("x",)
    assert not (destination / "global").exists()
    result = extracted(backup, plan(destination, control_file="global/pg_control.unfinished"), data)
    assert result.files == ("global/pg_control", "x")
    assert (destination / "global/pg_control.unfinished").read_bytes() == CONTROL


def test_only_wanted_files_are_written_but_all_directories(backup: StoredBackup, destination: Path) -> None:
    result = extracted(backup, plan(destination, left_out=frozenset({"x"})), wanted=frozenset({"PG_VERSION"}))
    assert result.files == ("PG_VERSION",)
    assert (destination / "base/1").is_dir()
    assert not (destination / "base/1/1259").exists()


def test_files_to_leave_out(backup: StoredBackup, destination: Path) -> None:
    assert extracted(backup, plan(destination, left_out=frozenset({"a"})), tar({"a": b"1", "b": b"2"})).files == ("b",)


@pytest.mark.parametrize("name", ["../x", "/a/../../x", "a/..", "/../x"])
def test_names_that_leave_the_destination_are_refused(name: str, backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(DataCorrupt, match="outside the destination"):
        extracted(backup, plan(destination), tar({name: b"evil"}))
    assert not (destination.parent / "x").exists()


@pytest.mark.parametrize("name", ["a/" * 3000 + "b", "x" * 300])
def test_names_that_no_file_system_takes_are_named(name: str, backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match="File name too long"):
        extracted(backup, plan(destination), tar({name: b""}))
    assert os.listdir(destination) == []


@pytest.mark.parametrize(
    ("name", "expected"), [("/", ""), ("/base/1", "base/1"), ("./x", "x"), ("//a//b", "a/b"), ("a..b", "a..b")]
)
def test_names_become_relative(name: str, expected: str) -> None:
    assert relative_name(name) == expected


def test_links_of_the_archive_are_never_followed(backup: StoredBackup, destination: Path) -> None:
    """A link is only reported; a file below its name gets a real directory."""
    outside = destination.parent / "outside"
    outside.mkdir()
    data = tar(links={"/evil": str(outside)}, end=b"") + tar({"/evil/x": b"1"})
    assert extracted(backup, plan(destination), data).links == (("evil", str(outside)),)
    assert list(outside.iterdir()) == []
    assert (destination / "evil/x").read_bytes() == b"1"


@pytest.mark.parametrize("member", ["evil/x", "evil"])
def test_links_in_the_destination_are_not_followed(member: str, backup: StoredBackup, destination: Path) -> None:
    outside = destination.parent / "outside"
    outside.mkdir()
    (destination / "evil").symlink_to(outside if "/" in member else outside / "new")
    with pytest.raises((DataCorrupt, BackupError)):
        extracted(backup, plan(destination), tar({member: b"1"}))
    assert list(outside.iterdir()) == []


def test_a_tablespace_s_link_is_followed(backup: StoredBackup, destination: Path) -> None:
    place = destination.parent / "ts"
    place.mkdir()
    (destination / "pg_tblspc").mkdir()
    (destination / "pg_tblspc/16384").symlink_to(place)
    data = tar({"/pg_tblspc/16384/PG_15/1/2": b"row"}, {"/pg_tblspc/16384": 0o700})
    extracted(backup, plan(destination, links=frozenset({"pg_tblspc/16384"})), data)
    assert (place / "PG_15/1/2").read_bytes() == b"row"


@pytest.mark.parametrize(
    "data", [tar({"/a": b"", "/a/b": b""}), tar({"/": b""}), tar({"/a/b": b""}, end=b"") + tar({"/a": b""})]
)
def test_contradicting_members_are_refused(data: bytes, backup: StoredBackup, destination: Path) -> None:
    with pytest.raises((DataCorrupt, BackupError)):
        extracted(backup, plan(destination), data)


def test_hard_links_are_refused(backup: StoredBackup, destination: Path) -> None:
    data = bytearray(tar(links={"/a": "b"}))
    data[156:157] = b"1"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(DataCorrupt, match="hard link"):
        extracted(backup, plan(destination), bytes(data))


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_a_truncated_part_is_named(cut: int, backup: StoredBackup, destination: Path) -> None:
    backup.store()
    path = backup.object("part_001")
    path.write_bytes(path.read_bytes()[:cut])
    start_worker(backup.config, plan(destination))
    with pytest.raises(DataCorrupt, match=r"tar_partitions/part_001\.tar\.lz4' is damaged"):
        extract_part(job_of(backup), lambda count: None)


def test_what_is_no_tar_may_be_encrypted(backup: StoredBackup, destination: Path) -> None:
    backup.store()
    backup.object("part_001").write_bytes(os.urandom(5000))
    start_worker(backup.config, plan(destination))
    with pytest.raises(DataCorrupt) as raised:
        extract_part(job_of(backup), lambda count: None)
    assert "encrypted" in raised.value.hint


def test_what_the_file_system_refuses_is_not_retried(backup: StoredBackup, destination: Path) -> None:
    (destination / "a").mkdir()
    with pytest.raises(BackupError, match=r"cannot write '.*/data/a': Is a directory"):
        extracted(backup, plan(destination, retries=9), tar({"/a": b"1"}))


class Flaky:
    """Stands before a storage: the data of an object end with an error, as often as told."""

    def __init__(self, storage: Storage, errors: list[Exception], after: int, damage: tuple[bytes, bytes]) -> None:
        self.storage = storage
        self.errors = errors
        self.after = after
        self.damage = damage

    @contextmanager
    def open(self, name: str, size: int | None = None) -> Iterator[Iterator[Chunk]]:
        with self.storage.open(name, size=size) as reader:
            content = b"".join(bytes(chunk) for chunk in reader)
            yield self._failing(content) if size is None else iter([content])  # a look at the first bytes succeeds

    def _failing(self, data: bytes) -> Iterator[Chunk]:
        if self.errors:
            yield data[: self.after].replace(*self.damage)
            raise self.errors.pop(0)
        yield data


def run_flaky(
    backup: StoredBackup,
    plan: ExtractPlan,
    errors: list[Exception],
    after: int = 20_000,
    damage: tuple[bytes, bytes] = (b"", b""),
    **of_job: object,
) -> list[int]:
    """Extract with these errors first, and this damage (what comes instead of what); returns the reported counts."""
    backup.method = "none"
    backup.store()
    start_worker(backup.config, plan)
    archive = extract._workers[0].archive
    archive.storage = Flaky(archive.storage, errors, after, damage)  # type: ignore[assignment]
    counts: list[int] = []
    extract_part(job_of(backup, **of_job), counts.append)
    return counts


def test_a_damaged_part_is_read_again_from_its_start(
    backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [DataCorrupt("bad 1"), DataCorrupt("bad 2")]
    counts = run_flaky(backup, plan(destination, retries=3), errors)
    assert (destination / "base/1/1259").read_bytes() == FILES["/base/1/1259"]
    assert sum(counts) == sum(map(len, FILES.values()))  # each byte is reported once
    assert [str(record.args[1]) for record in caplog.records if record.args] == ["3", "2"]  # type: ignore[index]


def test_retries_end(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(DataCorrupt, match="bad 3"):
        run_flaky(backup, plan(destination, retries=2), [DataCorrupt(f"bad {number}") for number in (1, 2, 3)])


def test_what_the_storage_has_given_up_is_not_tried_again(backup: StoredBackup, destination: Path) -> None:
    errors: list[Exception] = [StorageUnavailable("gone for five minutes")] * 2
    with pytest.raises(StorageUnavailable):
        run_flaky(backup, plan(destination, retries=15), errors)
    assert len(errors) == 1


def test_the_same_damage_twice_is_damage_at_rest(backup: StoredBackup, destination: Path) -> None:
    errors: list[Exception] = [DataCorrupt("bad checksum")] * 9
    with pytest.raises(DataCorrupt, match="bad checksum"):
        run_flaky(backup, plan(destination, retries=8), errors)
    assert len(errors) == 7


def test_a_missing_part_is_not_retried(backup: StoredBackup, destination: Path) -> None:
    backup.store()
    backup.object("part_001").unlink()
    start_worker(backup.config, plan(destination, retries=9))
    with pytest.raises(ObjectMissing):
        extract_part(job_of(backup), lambda count: None)


def test_the_network_limit_is_obeyed(backup: StoredBackup, destination: Path) -> None:
    backup.method = "none"
    backup.store()
    config = Config.from_mapping({"WALG_FILE_PREFIX": str(backup.folder), "WALG_NETWORK_RATE_LIMIT": "1000000"})
    start_worker(config, plan(destination))
    limiter = extract._workers[0].archive.storage._limiter  # type: ignore[attr-defined]
    assert limiter.limit == 1_000_000
    assert extract_part(job_of(backup), lambda count: None).size == sum(map(len, FILES.values()))


@pytest.mark.parametrize("method", ["lz4", "brotli"])
def test_times_of_all_stages_are_measured(method: str, backup: StoredBackup, destination: Path) -> None:
    backup.method = method
    result = extracted(backup, plan(destination), tar({"/base/1/2": bytes(3_000_000), "/a": b"1"}))
    assert list(result.times) == ["reading", "decompressing", "writing", "the rate limit"]
    assert all(result.times[stage] > 0 for stage in ("reading", "decompressing", "writing"))
    assert result.times["the rate limit"] == 0


def test_waiting_for_the_network_limit_is_not_reading(backup: StoredBackup, destination: Path) -> None:
    backup.method = "none"
    backup.parts["part_001"] = tar({"/a": bytes(1_300_000)})
    backup.store()
    limit = {"WALG_NETWORK_RATE_LIMIT": Setting("1000000", "a test")}
    start_worker(backup.config.with_settings(limit), plan(destination))
    result = extract_part(job_of(backup), lambda count: None)
    assert result.times["the rate limit"] > 0.2  # seconds: 234 KB more than may pass at once
    assert result.times["reading"] < result.times["the rate limit"]


# ---- increments


def with_increment(backup: StoredBackup, destination: Path, pages: int = 1200) -> bytes:
    """A file that is there, and a part with an increment of it: the first of so many pages are new; the file then."""
    data = encode_head(2000 * 8192, range(pages)) + b"x" * (pages * 8192)
    backup.parts["part_001"] = tar({"/1": data, "/2": b"2" * 8192})
    (destination / "1").write_bytes(b"o" * (2500 * 8192))
    return b"x" * (pages * 8192) + b"o" * ((2000 - pages) * 8192)


@pytest.mark.parametrize("pages", [3, 1200])
def test_a_damaged_part_with_an_increment_is_applied_again(
    pages: int, backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In WAL-G, a retry of --reverse-unpack leaves the file short."""
    expected = with_increment(backup, destination, pages)
    after = 512 + 16 + pages * 8196 - 1000
    run_flaky(
        backup, plan(destination, retries=3, is_in_place=True), [DataCorrupt("bad")], after, increments=frozenset({"1"})
    )
    assert (destination / "1").read_bytes() == expected
    assert "trying it again" in caplog.text


def test_pages_that_a_damaged_part_spoiled_are_not_forgotten(backup: StoredBackup, destination: Path) -> None:
    with_increment(backup, destination)
    damage = b"\xaf\x04\0\0x", b"\xbf\x04\0\0x"  # another page
    standby = plan(destination, retries=3, is_in_place=True)
    with pytest.raises(DataCorrupt, match="came damaged and was applied to wrong pages of '1'") as raised:
        run_flaky(backup, standby, [DataCorrupt("bad")], 9_800_000, damage, increments=frozenset({"1"}))
    assert "restore again" in raised.value.hint


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"", b""),
        (b"wi1U\0\0\xfa", b"wi1U\0\0\xf0"),  # a smaller file, of which less is wanted
        (b"\xaf\x04\0\0x", b"\xbf\x04\0\0x"),  # another page
    ],
)
def test_a_damaged_part_below_newer_pages(good: bytes, bad: bytes, backup: StoredBackup, destination: Path) -> None:
    """Tried again, it is as new; but not when a wrong page was written, which no older backup need have."""
    with_increment(backup, destination)
    (destination / "1").write_bytes(b"n" * 8192 + bytes(1999 * 8192))
    (destination / "journal").mkdir()
    newest = Increment(2000 * 8192, array("I", [0]), 8192, iter(()))
    with PagesWriter(str(destination / "newer")) as pages:
        pages.add("1", NewerPages.of(newest))
    part = backup.object("part_001").with_suffix("")  # without a codec
    (destination / "journal" / part.parent.parent.name).mkdir()
    (destination / "journal/lock").touch()
    chain = plan(destination, retries=3, journal=str(destination / "journal"))
    job = {"increments": frozenset({"1"}), "newer": {"1": str(destination / "newer")}}
    if good:
        with pytest.raises(DataCorrupt, match="came damaged and was applied to wrong pages of '1'"):
            run_flaky(backup, chain, [DataCorrupt("bad")], 9_800_000, (good, bad), **job)
        return
    run_flaky(backup, chain, [DataCorrupt("bad")], 9_800_000, **job)
    expected = b"n" * 8192 + b"x" * (1199 * 8192) + bytes(800 * 8192)
    assert (destination / "1").read_bytes() == expected
    (record,) = (destination / "journal").rglob("*.pages")
    together = PagesReader({"1": str(record)}).of("1")
    assert together
    assert together == NewerPages(2000 * 8192, 2000 * 8192, 8192, b"\1" * 1200)


def test_below_a_delta_directories_and_links_are_made_only_when_wanted(backup: StoredBackup, destination: Path) -> None:
    data = tar({"/a/x": b"1", "/b/y": b"2"}, {"/a": 0o700, "/b": 0o750, "/c": 0o750, "/d": 0o750}, {"/l": "/x"})
    base = plan(destination, all_directories=False)
    result = extracted(backup, base, data, wanted=frozenset({"a/x", "d"}))
    assert (result.files, result.directories, result.links) == (("a/x",), (("d", 0o750),), ())
    assert sorted(os.listdir(destination)) == ["a", "d"]
