"""Composers: which files share a tar."""

import stat

from walpy.backup.composers import by_database, by_rating, rated
from walpy.backup.file_entries import local_timestamp
from walpy.backup.files_metadata import FileEntry
from walpy.postgres.datadir import Entry
from walpy.postgres.relation_file import Relation, RelationFile, relation_file

FOLDER = "/pg_tblspc/17000/PG_16_202307071"


def entry(name: str, *, is_file: bool = True) -> Entry:
    kind = stat.S_IFREG if is_file else stat.S_IFDIR
    return Entry(name, f"/data{name}", kind | 0o600, 8192 * is_file, 1, 0, 0)


def names(groups: list[list[Entry]]) -> list[list[str]]:
    return [[entry.name for entry in group] for group in groups]


def test_each_database_has_its_own_group() -> None:
    files = ["/PG_VERSION", "/base/1/1259", "/base/1/1259_fsm", "/base/1/PG_VERSION", "/base/5/1259", "/global/1262"]
    files += ["/pg_xact/0000", f"{FOLDER}/5/16400", f"{FOLDER}/PG_VERSION"]
    folders = ["/", "/base", "/base/1", "/base/5", f"{FOLDER}/5"]
    entries = [entry(name, is_file=False) for name in folders] + [entry(name) for name in files]
    assert names(by_database(entries)) == [
        [*folders, "/PG_VERSION", "/global/1262", "/pg_xact/0000", f"{FOLDER}/PG_VERSION"],
        ["/base/1/1259", "/base/1/1259_fsm", "/base/1/PG_VERSION"],
        ["/base/5/1259"],
        [f"{FOLDER}/5/16400"],
    ]


def test_the_most_often_changed_tables_are_last() -> None:
    updates = {Relation(1663, 5, 1): 70, Relation(1663, 5, 2): 50, Relation(17000, 5, 3): 60, Relation(1663, 6, 4): 9}
    files = ["/base/5/1", "/base/5/1.1", "/base/5/2", "/base/5/2_fsm", "/base/5/3", f"{FOLDER}/5/3", "/base/5/4"]
    entries = rated([entry("/", is_file=False), *map(entry, files)], updates)
    assert [found.updates for found in entries] == [0, 70, 70, 50, 0, 0, 60, 0]
    quiet = ["/base/5/2_fsm", "/base/5/3", "/base/5/4"]
    assert names(by_rating(entries, {})) == [["/"], quiet, ["/base/5/2", f"{FOLDER}/5/3", "/base/5/1", "/base/5/1.1"]]
    base = {"/base/5/1": FileEntry(local_timestamp(1), updates_count=69)}  # 101 %, behind 50 and 60 new ones
    base |= {"/base/5/1.1": FileEntry(local_timestamp(1), updates_count=7000)}  # 1 %
    assert names(by_rating(entries, base))[2] == ["/base/5/1.1", "/base/5/2", f"{FOLDER}/5/3", "/base/5/1"]


def test_names_of_relations_files() -> None:
    assert relation_file("/base/5/16384.2") == RelationFile(Relation(1663, 5, 16384), 2)
    assert relation_file(f"{FOLDER}/5/16384") == RelationFile(Relation(17000, 5, 16384), 0)
    for name in ("/global/1262", "/base/5/16384_fsm", "/base/5/t3_16384", "/base/5", "/pg_tblspc/17000/x/5/1"):
        assert relation_file(name) is None
