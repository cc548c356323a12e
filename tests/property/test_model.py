"""Whatever a backup's objects hold survives being written and read, and is JSON that others can read."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.gojson import indented, same_value
from walpy.backup.model import BackupMetadata, Sentinel, Spec, Tablespace
from walpy.backup.timestamp import Timestamp
from walpy.postgres.database import Database, Table

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
SIZES = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
TIMES = st.builds(
    Timestamp,
    st.integers(-62_135_500_000 * 10**9, 253_402_200_000 * 10**9),  # years 1 to 9999, a day off the borders
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: minutes * 60),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
LOCATIONS = TEXT.map(lambda text: "/" + text.strip("/"))
SPECS = st.builds(
    lambda prefix, places: Spec(prefix, tuple(Tablespace(name, place, f"pg_tblspc/{name}") for name, place in places)),
    LOCATIONS,
    st.lists(st.tuples(U32.map(str), LOCATIONS), max_size=3, unique_by=lambda pair: pair[0]),
)
SENTINELS = st.builds(
    Sentinel,
    lsn=st.none() | U64,
    delta_lsn=st.none() | U64,
    delta_from=st.none() | TEXT,
    delta_full_name=st.none() | TEXT,
    delta_count=st.none() | I64,
    pg_version=st.integers(0, 999_999),
    finish_lsn=st.none() | U64,
    system_identifier=st.none() | U64,
    uncompressed_size=I64,
    compressed_size=I64,
    data_catalog_size=SIZES,
    spec=st.none() | SPECS,
    user_data=st.none() | TEXT | st.lists(TEXT, max_size=3),  # for numbers, see same_value
    files_metadata_disabled=st.booleans(),
    checkpoint_number=st.none() | U32,
    delta_checkpoint_number=st.none() | U32,
    version=st.integers(0, 9),
    start_time=TIMES,
    finish_time=TIMES,
    date_fmt=TEXT,
    hostname=TEXT,
    data_dir=TEXT,
    is_permanent=st.booleans(),
    extra=st.just({}),
)
METADATA = st.builds(
    BackupMetadata,
    start_time=TIMES,
    finish_time=TIMES,
    date_fmt=TEXT,
    hostname=TEXT,
    data_dir=TEXT,
    pg_version=st.integers(0, 999_999),
    start_lsn=U64,
    finish_lsn=U64,
    is_permanent=st.booleans(),
    system_identifier=st.none() | U64,
    uncompressed_size=I64,
    compressed_size=I64,
    user_data=st.none() | TEXT | st.lists(TEXT, max_size=3),  # for numbers, see same_value
    extra=st.just({}),
)
ENTRIES = st.builds(
    FileEntry,
    TIMES,
    st.booleans(),
    st.booleans(),
    st.none() | st.builds(CorruptBlocks, SIZES, st.lists(U32, max_size=3).map(tuple)),
    U64,
)
TABLES = st.builds(Table, U32, U32, st.dictionaries(TEXT, st.builds(Table, U32, U32, st.just({})), max_size=2))
FILES = st.builds(
    FilesMetadata,
    st.dictionaries(NAMES, ENTRIES, max_size=4),
    st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=3),
    st.dictionaries(NAMES, st.builds(Database, U32, st.dictionaries(NAMES, TABLES, max_size=2)), max_size=2),
)


@given(SENTINELS)
def test_a_sentinel_reads_back(sentinel: Sentinel) -> None:
    assert Sentinel.from_json(sentinel.to_json()) == sentinel


@given(METADATA)
def test_metadata_read_back(metadata: BackupMetadata) -> None:
    assert BackupMetadata.from_json(metadata.to_json()) == metadata


@given(FILES)
def test_files_metadata_reads_back(files: FilesMetadata) -> None:
    assert FilesMetadata.from_json(files.to_json()) == files


@given(SPECS)
def test_a_specification_reads_back_in_key_order(spec: Spec) -> None:
    assert Spec.from_json(spec.to_json()) == spec
    keys = list(json.loads(spec.to_json()))
    assert keys == sorted(keys)


@given(JSON)
def test_user_data_keeps_its_value_and_its_bytes_when_written_again(value: Any) -> None:
    stored = Sentinel(user_data={"value": value}).to_json()
    again = Sentinel.from_json(stored)
    assert same_value(again.user_data, {"value": value})
    assert again.to_json() == stored
    assert not set(stored.decode()) & {"<", ">", "&", "\u2028", "\u2029"}


@given(TIMES)
def test_times_read_back(moment: Timestamp) -> None:
    assert Timestamp.parse(moment.rfc3339_ns()) == moment


@given(JSON, st.integers(1, 4))
def test_indenting_changes_only_white_space(value: Any, width: int) -> None:
    compact = json.dumps(value, separators=(",", ":"))
    text = indented(compact, width)
    assert json.loads(text) == value
    assert text == json.dumps(value, indent=width)
