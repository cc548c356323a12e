"""The change map from a server's WAL summaries: where they cover the way from the base, and where they do not."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.backup.test_delta_base import facts as facts_of
from tests.unit.postgres.test_wal_summaries import GOLDEN
from walpy.backup import summaries
from walpy.backup.change_map import ChangeMap
from walpy.backup.delta_base import Base
from walpy.backup.summaries import known_changes, summarized_changes
from walpy.postgres.datadir import Entry
from walpy.postgres.lsn import Lsn
from walpy.postgres.server import ServerFacts
from walpy.postgres.wal_summaries import FOLDER, NO_LIMIT, ForkChanges, Relation, list_summaries

START, END = 0x1721918, 0x2EF24E8
LAST_START = 0x2EDEA28


@pytest.fixture
def facts(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> ServerFacts:
    caplog.set_level(logging.INFO, "walpy")
    monkeypatch.setattr(summaries, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(summaries, "FIRST_POLL", 0.0)
    shutil.copytree(GOLDEN, tmp_path / FOLDER)
    return replace(facts_of(1, tmp_path), summarizes_wal=True)


def base_at(lsn: int) -> Base:
    return Base("base_000000010000000000000001", "base_000000010000000000000001", 1, Lsn(lsn), Lsn(lsn), 1, {}, 0)


def changes_since(facts: ServerFacts, start: int = START, end: int = END, timeline: int = 1) -> ChangeMap | None:
    return summarized_changes(facts, base_at(start), timeline=timeline, lsn=end)


def test_where_they_cover_the_way(facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    changes = changes_since(facts)
    assert changes is not None
    assert "4 WAL summaries tell what changed since 0/1721918" in caplog.text


def test_a_server_that_keeps_none(facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    assert changes_since(replace(facts, summarizes_wal=False)) is None
    assert caplog.text == ""


def test_another_timeline(facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    assert changes_since(facts, timeline=2) is None
    assert "the base is on timeline 1, this backup on 2" in caplog.text


@pytest.mark.parametrize("start", [START, 1])
def test_one_that_is_missing(start: int, facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    Path(list_summaries(facts.data_directory)[-4].path).unlink()
    assert changes_since(facts, start) is None
    assert "all changed files are read: there is none for some of the WAL since" in caplog.text


def test_one_that_is_damaged(facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    with Path(list_summaries(facts.data_directory)[-2].path).open("r+b") as file:
        file.write(b"\0")
    assert changes_since(facts) is None
    assert "does not begin as a WAL summary" in caplog.text


def test_the_last_one_is_waited_for(
    facts: ServerFacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    last = next(summary.path for summary in list_summaries(facts.data_directory) if summary.start == LAST_START)
    Path(last).rename(f"{last}.later")
    Path(list_summaries(facts.data_directory)[-1].path).unlink()
    assert changes_since(facts) is None
    assert "they reach to 0/2EDEA28 only, after 0 s" in caplog.text
    monkeypatch.setattr(summaries, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(summaries.time, "sleep", lambda _: Path(f"{last}.later").rename(last))
    assert changes_since(facts) is not None


def test_entries_with_what_is_known_of_them(tmp_path: Path) -> None:
    changes = ChangeMap(8192)
    changes.add([ForkChanges(Relation(1663, 5, 2), 0, 0, {}), ForkChanges(Relation(1663, 5, 3), 0, NO_LIMIT, {})])
    entries = [
        Entry(f"/base/5/{name}", str(tmp_path / name), 0o100600, 8192, 1, 0, 0, has_base=has_base)
        for name, has_base in (("1", False), ("2", True), ("3", True))
    ]
    plain, made_anew, unchanged = known_changes(entries, changes)
    assert plain == entries[0]
    assert not made_anew.has_base
    assert made_anew.changed is None
    assert unchanged.has_base
    assert unchanged.changed is not None
    assert not unchanged.changed
