"""The stored JSON objects: WAL-G's bytes in and out."""

import json
from pathlib import Path

import pytest

from tests.fixtures.golden import GOLDEN
from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.gojson import Fields, parse, same_value
from walpy.backup.model import BackupMetadata, Sentinel, Spec, Tablespace
from walpy.backup.timestamp import ZERO_TIME, Timestamp
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.database import Database, Table
from walpy.postgres.lsn import format_lsn

STORED = sorted((GOLDEN / "archives").rglob("*.json"))
SENTINELS = [path for path in STORED if path.name.endswith("_backup_stop_sentinel.json")]
METADATA = [path for path in STORED if path.name == "metadata.json"]
FILES = [path for path in STORED if path.name == "files_metadata.json"]


def identify(path: Path) -> str:
    return "/".join(path.parts[-4:])


@pytest.mark.parametrize("path", SENTINELS, ids=identify)
def test_sentinel_round_trips_byte_for_byte(path: Path) -> None:
    assert Sentinel.from_json(path.read_bytes()).to_json() == path.read_bytes()


@pytest.mark.parametrize("path", METADATA, ids=identify)
def test_metadata_round_trips_byte_for_byte(path: Path) -> None:
    assert BackupMetadata.from_json(path.read_bytes()).to_json() == path.read_bytes()


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_files_metadata_round_trips_byte_for_byte(path: Path) -> None:
    assert FilesMetadata.from_json(path.read_bytes()).to_json() == path.read_bytes()


def test_golden_objects_were_found() -> None:
    assert len(SENTINELS) >= 11
    assert len(METADATA) == len(FILES) == len(SENTINELS)


TIME = Timestamp.parse("2026-11-21T19:10:32.123457Z")
SPEC = Spec("/var/lib/postgresql/15/main", (Tablespace("16384", "/mnt/ts1", "pg_tblspc/16384"),))


def test_full_sentinel_is_written_as_the_format_page_shows() -> None:
    sentinel = Sentinel(
        lsn=33554472,
        pg_version=150018,
        finish_lsn=33554688,
        system_identifier=7710704239505806382,
        uncompressed_size=31483904,
        compressed_size=4212345,
        data_catalog_size=48300032,
        spec=SPEC,
        user_data={"job": "nightly"},
        start_time=TIME,
        finish_time=Timestamp.parse("2026-11-21T19:10:41.5Z"),
        hostname="db1",
        data_dir="/var/lib/postgresql/15/main",
    )
    assert sentinel.to_json().decode() == (
        '{"LSN":33554472,"PgVersion":150018,"FinishLSN":33554688,"SystemIdentifier":7710704239505806382,'
        '"UncompressedSize":31483904,"CompressedSize":4212345,"DataCatalogSize":48300032,"Spec":{"16384":'
        '{"loc":"/mnt/ts1","link":"pg_tblspc/16384"},"base_prefix":"/var/lib/postgresql/15/main",'
        '"tablespaces":["16384"]},"UserData":{"job":"nightly"},"ChkpNum":null,"Version":2,'
        '"StartTime":"2026-11-21T19:10:32.123457Z","FinishTime":"2026-11-21T19:10:41.5Z",'
        '"DateFmt":"%Y-%m-%dT%H:%M:%S.%fZ","Hostname":"db1","DataDir":"/var/lib/postgresql/15/main",'
        '"IsPermanent":false}'
    )


def test_delta_fields_and_flags_are_written_in_their_places() -> None:
    sentinel = Sentinel(
        lsn=2,
        delta_lsn=1,
        delta_from="base_A",
        delta_full_name="base_B",
        delta_count=2,
        finish_lsn=3,
        files_metadata_disabled=True,
        checkpoint_number=7,
        delta_checkpoint_number=6,
        is_permanent=True,
    )
    assert sentinel.is_delta
    assert list(json.loads(sentinel.to_json())) == [
        "LSN", "DeltaLSN", "DeltaFrom", "DeltaFullName", "DeltaCount", "PgVersion", "FinishLSN", "UncompressedSize",
        "CompressedSize", "FilesMetadataDisabled", "ChkpNum", "DeltaChkpNum", "Version", "StartTime", "FinishTime",
        "DateFmt", "Hostname", "DataDir", "IsPermanent",
    ]  # fmt: skip


def test_strings_are_escaped_as_go_escapes_them() -> None:
    text = BackupMetadata(hostname='<&>"\\\n\x01\x7f\u2028é\udcff').to_json().decode()
    assert '"hostname":"\\u003c\\u0026\\u003e\\"\\\\\\n\\u0001\x7f\\u2028é\\ufffd"' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9007199254740993, "9007199254740992"),
        (1.0, "1"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (-1.5e-9, "-1.5e-9"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (True, "true"),
        (None, "null"),
        ([1, "a", {}], '[1,"a",{}]'),
        ({"b": 1, "a": []}, '{"a":[],"b":1}'),
    ],
)
def test_user_data_is_written_as_go_writes_it(value: object, text: str) -> None:
    assert f'"UserData":{{"value":{text}}}' in Sentinel(user_data={"value": value}).to_json().decode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, object()])
def test_user_data_that_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(BackupError):
        Sentinel(user_data=[value]).to_json()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 1.0, True),
        (9007199254740993, 9007199254740992, True),
        (True, 1, False),
        (0, False, False),
        ({"a": [1, None]}, {"a": [1.0, None]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ("1", 1, False),
        (None, None, True),
        (10**400, 1, False),
    ],
)
def test_json_values_compare_as_in_go(left: object, right: object, expected: bool) -> None:
    assert same_value(left, right) is expected


def test_unknown_members_are_kept() -> None:
    stored = Sentinel(lsn=1, finish_lsn=2).to_json()[:-1] + b',"Later":{"x":[1]},"Other":"<"}'
    sentinel = Sentinel.from_json(stored)
    assert sentinel.extra == {"Later": {"x": [1]}, "Other": "<"}
    assert sentinel.to_json() == stored.replace(b'"<"', b'"\\u003c"')


def test_wale_sentinel_is_understood() -> None:
    sentinel = Sentinel.from_json(
        '{"wal_segment_backup_stop": "000000010000000000000005", "wal_segment_offset_backup_stop": "00000256", '
        '"expanded_size_bytes": 5844027, "spec": {"base_prefix": "/data/", "tablespaces": ["16780"], '
        '"16780": {"loc": "/ts/", "link": "pg_tblspc/16780"}}}'
    )
    assert sentinel.spec == Spec("/data", (Tablespace("16780", "/ts", "pg_tblspc/16780"),))
    assert (sentinel.lsn, sentinel.start_time, sentinel.is_delta) == (None, ZERO_TIME, False)


def test_sentinel_of_an_old_version_carries_files_and_old_names() -> None:
    sentinel = Sentinel.from_json(
        '{"LSN":5,"DeltaFromLSN":3,"DeltaFrom":"base_X","Files":{"/a":{"MTime":"2020-01-01T00:00:00Z"}},'
        '"TarFileSets":{"part_001.tar.lz4":["/a"]}}'
    )
    assert sentinel.delta_lsn == 3
    embedded = sentinel.embedded_files()
    assert embedded is not None
    files = FilesMetadata.from_fields(Fields(dict(embedded), "sentinel"))
    assert list(files.files) == ["/a"]
    assert files.tar_file_sets == {"part_001.tar.lz4": ("/a",)}


def test_names_match_without_regard_to_case() -> None:
    assert Sentinel.from_json('{"lsn":1,"HOSTNAME":"x"}') == Sentinel(lsn=1, hostname="x", version=0, date_fmt="")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"LSN":1}x',
        b'{"LSN":-1}',
        b'{"LSN":18446744073709551616}',
        b'{"LSN":1.0}',
        b'{"LSN":true}',
        b'{"LSN":"1"}',
        b'{"Hostname":1}',
        b'{"StartTime":"yesterday"}',
        b'{"StartTime":"2026-02-30T00:00:00Z"}',
        b'{"Spec":{"tablespaces":[]}}',
        b'{"Spec":{"base_prefix":"/x","tablespaces":["1"]}}',
        b'{"UserData":"\xff"}',
    ],
)
def test_a_damaged_sentinel_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DataCorrupt, match="sentinel 'x'"):
        Sentinel.from_json(data, "sentinel 'x'")


def test_positions_are_unsigned() -> None:
    largest = 2**64 - 1
    assert Sentinel.from_json(Sentinel(lsn=largest, finish_lsn=0).to_json()).lsn == largest
    assert format_lsn(largest) == "FFFFFFFF/FFFFFFFF"
    assert format_lsn(0x1_0160_0028) == "1/1600028"


def test_files_metadata_is_written_as_the_format_page_shows() -> None:
    mtime = Timestamp.parse("2026-11-21T22:10:32.123456789+03:00")
    files = FilesMetadata(
        {
            "/": FileEntry(mtime),
            "/base/5/1259": FileEntry(mtime, is_incremented=True, corrupt_blocks=CorruptBlocks(1, (3,))),
            "/<&>é": FileEntry(mtime, is_skipped=True, updates_count=2),
        },
        {"part_001.tar.lz4": ("/", "/base/5/1259"), "backup_label.tar.lz4": ("tablespace_map", "backup_label")},
        {"app": Database(16385, {"public.p": Table(16393, 0, {"public.p1": Table(16397, 16397)})}), "x": Database(1)},
    )
    expected = (
        '{"Files":{"/":{"IsIncremented":false,"IsSkipped":false,"MTime":"2026-11-21T22:10:32.123456789+03:00",'
        '"UpdatesCount":0},"/base/5/1259":{"IsIncremented":true,"IsSkipped":false,'
        '"MTime":"2026-11-21T22:10:32.123456789+03:00","CorruptBlocks":{"CorruptBlocksCount":1,'
        '"SomeCorruptBlocks":[3]},"UpdatesCount":0},"/<&>é":{"IsIncremented":false,"IsSkipped":true,'
        '"MTime":"2026-11-21T22:10:32.123456789+03:00","UpdatesCount":2}},'
        '"TarFileSets":{"part_001.tar.lz4":["/","/base/5/1259"],'
        '"backup_label.tar.lz4":["tablespace_map","backup_label"]},"DatabasesByNames":{"app":{"oid":16385,'
        '"tables_new":{"public.p":{"oid":16393,"relfilenode":0,"subtables":{"public.p1":{"oid":16397,'
        '"relfilenode":16397}}}}},"x":{"oid":1}}}'
    )
    assert files.to_json().decode() == expected
    assert FilesMetadata.from_json(expected) == files


def test_empty_files_metadata_is_an_empty_object() -> None:
    assert FilesMetadata().to_json() == b"{}"
    assert FilesMetadata.from_json(b'{"Files":null}') == FilesMetadata()


def test_a_name_that_is_not_unicode_cannot_be_recorded() -> None:
    with pytest.raises(BackupError, match="not valid UTF-8"):
        FilesMetadata({"/\udcff": FileEntry(ZERO_TIME)}).to_json()


@pytest.mark.parametrize("text", ["-0", "0", "[-0,1,-1]"])
def test_a_negative_zero_in_user_data_stays_one(text: str) -> None:
    stored = Sentinel(user_data=parse(text)).to_json()
    assert f'"UserData":{text}'.encode() in stored
    assert Sentinel.from_json(stored).to_json() == stored
