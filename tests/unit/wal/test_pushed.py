"""Hosts with public keys alone: what they pushed is recognised by what they noted, and without a note pushed again."""

from pathlib import Path

import pytest

from tests.unit.wal.synthetic import FIRST, DataDirectory, archive_in, content, segment
from walpy.archive import Archive
from walpy.errors import SecretKeyMissing, WalConflict
from walpy.wal.push import wal_push
from walpy.wal.pushed import MOST_RECORDS, PushRecords, Record

KEYS = Path(__file__).resolve().parents[2] / "golden" / "openpgp" / "cv25519"
OBJECT = f"wal_005/{FIRST}.lz4"
HISTORY = "00000002.history"
STORED_AGAIN = "is stored again: without the secret key it cannot be compared"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "archive", WALG_PGP_KEY_PATH=str(KEYS / "public.asc"))


def records(data: DataDirectory) -> Path:
    return data.wal / "walg_data" / "walpy" / "pushed"


def stored_bytes(archive: Archive, name: str = OBJECT) -> bytes:
    return archive.get_bytes(name)


def test_a_repeated_file_is_recognised(data: DataDirectory, archive: Archive, told: pytest.LogCaptureFixture) -> None:
    path = data.add(FIRST)
    wal_push(archive, path)
    before = archive.storage.stat(OBJECT)
    data.add(FIRST)  # the same content in another file
    wal_push(archive, path)
    assert archive.storage.stat(OBJECT) == before
    assert "already archived with equal content, skipping" in told.text
    assert STORED_AGAIN not in told.text
    reader = archive_in(Path(archive.storage.url.removeprefix("file://")), WALG_PGP_KEY_PATH=str(KEYS / "key.asc"))
    assert content(reader, FIRST) == segment(FIRST)


def test_other_content_is_refused(data: DataDirectory, archive: Archive) -> None:
    wal_push(archive, data.add(FIRST))
    before = stored_bytes(archive)
    with pytest.raises(WalConflict, match="contents differ"):
        wal_push(archive, data.add(FIRST, segment(FIRST, seed=1)))
    assert stored_bytes(archive) == before


def test_a_history_file_is_recognised_too(data: DataDirectory, archive: Archive) -> None:
    path = data.add(HISTORY, b"1\t0/2000000\treason\n")
    wal_push(archive, path)
    wal_push(archive, path)
    with pytest.raises(WalConflict):
        wal_push(archive, data.add(HISTORY, b"1\t0/3000000\treason\n"))
    (records(data) / HISTORY).unlink()
    with pytest.raises(SecretKeyMissing):
        wal_push(archive, path)


@pytest.mark.parametrize("trouble", ["no record", "no JSON", "another archive", "the object was replaced"])
def test_what_no_record_tells_is_stored_again(
    data: DataDirectory, archive: Archive, told: pytest.LogCaptureFixture, trouble: str
) -> None:
    path = data.add(FIRST)
    wal_push(archive, path)
    record, name = records(data) / FIRST, OBJECT
    match trouble:
        case "no record":
            record.unlink()
        case "no JSON":
            record.write_text("{")
        case "another archive":
            record.write_text(record.read_text().replace('"archive": "', '"archive": "s3://'))
        case _:
            archive.put_bytes(name, b"other bytes of the same name")
    before = stored_bytes(archive)
    wal_push(archive, path)
    assert STORED_AGAIN in told.text
    assert stored_bytes(archive) != before
    told.clear()
    wal_push(archive, path)  # the record is there again
    assert STORED_AGAIN not in told.text


def test_who_can_read_notes_nothing(data: DataDirectory, tmp_path: Path) -> None:
    for number, settings in enumerate(({}, {"WALG_PGP_KEY_PATH": str(KEYS / "key.asc")})):
        archive = archive_in(tmp_path / str(number), **settings)
        for _ in range(2):
            wal_push(archive, data.add(FIRST))
    assert not records(data).exists()


def test_the_oldest_records_are_forgotten(tmp_path: Path) -> None:
    kept = PushRecords(str(tmp_path), "here")
    for number in range(MOST_RECORDS + 5):
        kept.note(f"{number:024X}", Record("a", "b", "c"))
    assert kept.find(f"{MOST_RECORDS + 4:024X}") == Record("a", "b", "c")
    assert len(list((tmp_path / "walpy" / "pushed").iterdir())) == MOST_RECORDS
    assert PushRecords(str(tmp_path), "elsewhere").find(f"{MOST_RECORDS + 4:024X}") is None


def test_no_place_and_no_room_for_records(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    nowhere = PushRecords(None, "here")
    nowhere.note(FIRST, Record("a", "b", "c"))
    assert nowhere.find(FIRST) is None
    (tmp_path / "walpy").write_text("no folder")
    PushRecords(str(tmp_path), "here").note(FIRST, Record("a", "b", "c"))
    assert "cannot note what was archived" in told.text
