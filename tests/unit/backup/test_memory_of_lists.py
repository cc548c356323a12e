"""What lists of files take of memory, a file: there may be a million."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.stored_chain import StoredChain
from walpy.archive import open_archive
from walpy.backup.chain import plan_chain, read_links
from walpy.backup.entry import FileEntry
from walpy.backup.file_entries import local_timestamp
from walpy.backup.files_metadata import TarListing
from walpy.postgres.entry import Entry, EntryTable

FILES = 6000


def name(number: int) -> str:
    return f"/base/{16384 + number // 5000}/{100_000 + number}"


@contextmanager
def measured(most: int) -> Iterator[list[object]]:
    """Fail when the body, at its peak, takes more bytes a file; what it puts into the list stays alive."""
    kept: list[object] = []
    tracemalloc.start()
    try:
        yield kept
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / FILES < most


def test_the_listing_of_a_data_directory() -> None:
    with measured(110) as kept:
        table = EntryTable()
        for number in range(FILES):
            mtime_ns = 1_700_000_000_123_456_789 + number
            table.append(Entry(name(number), f"/data{name(number)}", 0o100600, 8192, mtime_ns, 0, 0))
        kept.append(table)


def test_what_workers_tell_of_their_tars() -> None:
    entries = [(name(number), FileEntry(local_timestamp(10**18 + number * 7919))) for number in range(FILES)]
    listing = TarListing.of(entries)
    assert len(listing.files) / FILES > 100
    assert (len(listing.deflated_files) + len(listing.deflated_names)) / FILES < 30


def test_the_plan_of_a_chain(tmp_path: Path) -> None:
    """Two backups, each with a list of its own; what does not grow with them counts too."""
    chain = StoredChain(tmp_path)
    for _ in range(2):
        chain.add({})
    chain.store()
    for is_delta, member in enumerate(chain.members):
        path = member.folder / "basebackups_005" / member.name / "files_metadata.json"
        document = json.loads(path.read_text())
        for number in range(FILES):
            kinds = {"IsIncremented": is_delta and number % 2 == 0, "IsSkipped": is_delta and number % 2 == 1}
            kinds = {kind: bool(value) for kind, value in kinds.items()}
            document["Files"][name(number)] = {**kinds, "MTime": "2026-11-21T22:10:32.12345+03:00", "UpdatesCount": 0}
        document["TarFileSets"]["part_002.tar.lz4"] = [name(number) for number in range(FILES) if not is_delta]
        document["TarFileSets"]["part_001.tar.lz4"] += [name(number) for number in range(0, FILES, 2) if is_delta]
        member.object("part_002").write_bytes(b"")
        path.write_text(json.dumps(document))
    archive = open_archive(chain.newest.config)
    links = read_links(archive, chain.newest.name)
    with measured(400) as kept:
        kept.append(plan_chain(archive, links, lambda files: None))
