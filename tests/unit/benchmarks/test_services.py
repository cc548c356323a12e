from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rows.catalogue import fill
from benchmarks.services import RECEIVED, Services, SinkProcess, start_sink
from benchmarks.tools.walg_like import Place


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SinkProcess]:
    process = start_sink(tmp_path / "objects")
    yield process
    process.stop()


def test_requests_of_one_action_are_told_apart(sink: SinkProcess) -> None:
    services = Services(sink=sink)
    sink.put_all({"/b/one": b"1", "/b/two": b"22"})
    before = services.requests()
    sink.put_all({"/b/three": b"333"})
    assert services.requests_since(before) == {"put": 1, RECEIVED: 3}
    assert services.roots() == {sink.process.pid}


def test_a_place_in_the_sink_is_filled_and_cleared_below_a_name(sink: SinkProcess, tmp_path: Path) -> None:
    where, other = (Place(tmp_path / name, sink) for name in ("where", "other"))
    for place in (where, other):
        fill(place, {"wal_005/a": b"1", "basebackups_005/b": b"2"})
    where.clear("wal_005")
    assert len(list((tmp_path / "objects").iterdir())) == 3
    where.clear()
    assert len(list((tmp_path / "objects").iterdir())) == 2
    assert where.settings["WALG_S3_PREFIX"] == "s3://bench/where"
    assert where.stored is None


def test_a_sink_that_ended_is_told(sink: SinkProcess) -> None:
    sink.process.kill()
    sink.process.wait()
    with pytest.raises(RuntimeError, match="ended by itself"):
        sink.counts()
