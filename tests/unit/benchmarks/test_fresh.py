"""The harness asks for a file system; whether root makes a good one, a run of the row shows."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fresh import VARIABLE, Maker, make_fresh


class Folders(Maker):
    """Makes a plain folder; the third time there is no room."""

    made = 0

    def _make(self) -> None:
        self.made += 1
        if self.made == 3:
            raise OSError("no room")
        self._place.mkdir(exist_ok=True)


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    maker = Folders(tmp_path, os.getuid(), os.getgid())
    monkeypatch.setenv(VARIABLE, str(maker.other.fileno()))
    server = threading.Thread(target=maker.serve)
    server.start()
    yield maker
    maker.other.close()
    server.join()
    maker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_for_each_request(maker: Folders, tmp_path: Path) -> None:
    assert make_fresh() == make_fresh() == tmp_path / "fresh"
    assert maker.made == 2
    with pytest.raises(LookupError, match="no new file system: no room"):
        make_fresh()


def test_without_root_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(LookupError, match="only root"):
        make_fresh()
