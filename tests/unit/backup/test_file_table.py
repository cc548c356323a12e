"""Entries of files in little memory, and documents that are read as they come."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walpy.archive import Archive, open_archive
from walpy.backup import file_table
from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.file_table import FileTable
from walpy.backup.files_metadata import FilesMetadata, read_files_metadata
from walpy.backup.json_stream import JsonStream
from walpy.backup.model import Sentinel
from walpy.backup.timestamp import ZERO_TIME, Timestamp
from walpy.config import Config
from walpy.errors import DataCorrupt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=6,
)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(st.dictionaries(st.text(), JSON), st.integers(1, 9), st.booleans())
def test_a_document_in_any_pieces(document: dict[str, object], size: int, is_indented: bool) -> None:
    data = json.dumps(document, ensure_ascii=False, indent=1 if is_indented else None).encode()
    stream = JsonStream(in_pieces(data, size))
    assert {name: stream.value() for name in stream.members()} == document
    stream.end()


@given(st.lists(JSON), st.integers(1, 9))
def test_an_array_in_any_pieces(values: list[object], size: int) -> None:
    stream = JsonStream(in_pieces(json.dumps(values).encode(), size))
    assert list(stream.elements()) == values
    stream.end()


@given(JSON, st.integers(1, 9))
def test_what_is_passed_over(value: object, size: int) -> None:
    stream = JsonStream(in_pieces(json.dumps({"a": value, "b": 1}).encode(), size))
    for name in stream.members():
        if name == "b":
            assert stream.value() == 1
        else:
            stream.skip()
    stream.end()


BROKEN = ["", "{", '{"a"', '{"a":1', '{"a":1 "b":2}', "{1:2}", "[]", '{"a":1}x', '{"a":', '{"a":tru']


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(ValueError):
        all_members(text)


def all_members(text: str) -> dict[str, object]:
    stream = JsonStream([text.encode()])
    found = {name: stream.value() for name in stream.members()}
    stream.end()
    return found


def test_a_value_larger_than_what_is_read_at_once() -> None:
    stream = JsonStream(in_pieces(json.dumps({"a": "x" * 300_000, "b": [1]}).encode(), 1000))
    assert {name: stream.value() for name in stream.members()} == {"a": "x" * 300_000, "b": [1]}


ENTRIES = st.builds(
    FileEntry,
    st.builds(Timestamp, st.integers(-(1 << 66), 1 << 66), st.just(0)),
    st.booleans(),
    st.booleans(),
    st.none() | st.builds(CorruptBlocks, st.integers(1, 9), st.just((1, 2))),
    st.integers(0, 3),
)


@given(st.lists(st.tuples(st.text(), ENTRIES)))
def test_a_table_is_a_mapping(entries: list[tuple[str, FileEntry]]) -> None:
    table = FileTable()
    for name, entry in entries:
        table.add(name, entry)
    assert dict(table) == dict(entries)
    assert list(table) == list(dict(entries))
    assert len(table) == len(dict(entries))


def test_a_table_grows() -> None:
    table = FileTable()
    for number in range(5000):
        table.add(f"/base/1/{number}", FileEntry(Timestamp(number)))
    assert [table[f"/base/1/{number}"].mtime.ns for number in range(5000)] == list(range(5000))
    assert "/base/1/5000" not in table


def test_names_of_more_bytes_than_32_bits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_table, "_HIGHEST_END", 100)
    table = FileTable()
    for number in range(50):
        table.add(f"/base/1/{number}", FileEntry(Timestamp(number)))
    assert table._ends.typecode == "Q"
    assert list(table) == [f"/base/1/{number}" for number in range(50)]


def test_a_name_that_only_a_tar_has_is_no_entry() -> None:
    table = FileTable()
    number = table.number("/vanished")
    assert (list(table), len(table), "/vanished" in table, table.name(number)) == ([], 0, False, "/vanished")
    table.add("/vanished", FileEntry(ZERO_TIME, is_skipped=True))
    assert (list(table), table["/vanished"].mtime, table["/vanished"].is_skipped) == (["/vanished"], ZERO_TIME, True)


# ---- files_metadata.json


def read(folder: Path, text: str, **options: bool) -> FilesMetadata:
    path = folder / "basebackups_005/base_1/files_metadata.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    archive: Archive = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))
    return read_files_metadata(archive, "base_1", Sentinel(), **options)


def test_sections_in_any_order_and_case(tmp_path: Path) -> None:
    text = (
        '{"Other":{"a":[{}]},"TARFILESETS":{"p":["/b","/a"],"q":null},'
        '"databasesbynames":{"d":{"oid":5,"tables_new":{"public.t":{"oid":1,"relfilenode":2}}}},'
        '"files":{"/a":{"IsIncremented":true,"IsSkipped":false,"MTime":"1970-01-01T00:00:01Z","UpdatesCount":0},"/c":null}}'
    )
    found = read(tmp_path, text, with_databases=True)
    assert found.files["/a"] == FileEntry(Timestamp(1_000_000_000), is_incremented=True)
    assert found.files["/c"].mtime == ZERO_TIME
    assert {tar: list(names) for tar, names in found.tar_file_sets.items()} == {"p": ["/b", "/a"], "q": []}
    assert found.databases["d"].tables["public.t"].relfilenode == 2
    assert list(found.files) == ["/a", "/c"]


def test_names_of_relations_are_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, '{"DatabasesByNames":{"d":{"oid":5}}}') == FilesMetadata(FileTable(), {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not JSON"),
        ('{"Files":{"/a":1}}', "Files: /a is not a JSON object"),
        ('{"Files":[]}', "is not JSON"),
        ('{"Files":{"/a":{"MTime":"x"}}}', "MTime is not an RFC 3339 time"),
        ('{"TarFileSets":{"p":[1]}}', "TarFileSets: p is not an array of strings"),
        ('{"Files":{}', "is not JSON"),
        ("{} {}", "is not JSON"),
    ],
)
def test_a_damaged_document(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataCorrupt, match=f"files_metadata.json'.*{message}"):
        read(tmp_path, text)
