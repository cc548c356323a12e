from pathlib import Path

import pytest

from benchmarks.data import make
from benchmarks.data.make import SAMPLE_PIECE, Data, small_content, take_sample
from benchmarks.data.plan import QUICK


@pytest.mark.parametrize("size", [0, 40, 8192, 24576])
def test_small_content_has_its_size_and_half_of_it_is_text(size: int) -> None:
    content = small_content(7, size)
    assert len(content) == size
    assert content[size // 2 + 1 :].strip(b"\0") == b""


def test_small_contents_differ() -> None:
    assert small_content(1, 8192) != small_content(2, 8192)


def test_a_sample_takes_from_all_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"a" * (2 * SAMPLE_PIECE))
    (source / "b").write_bytes(b"b" * 100)
    take_sample(source, tmp_path / "sample")
    assert (tmp_path / "sample").read_bytes() == b"a" * (2 * SAMPLE_PIECE) + b"b" * 100


def test_a_segment_of_a_kind(tmp_path: Path) -> None:
    data = Data(QUICK, tmp_path, {"B": "insert", "A": "mixed", "C": "insert"})
    assert data.segment() == tmp_path / "wal" / "B"
    assert data.segment("mixed").name == "A"
    assert data.sample_of(data.small) == tmp_path / "sample-small"
    with pytest.raises(LookupError, match="no segment of kind oltp"):
        data.segment("oltp")


def test_a_sample_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "SAMPLE_SIZE", 2 * SAMPLE_PIECE)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a" * (3 * SAMPLE_PIECE))
    take_sample(tmp_path / "source", tmp_path / "sample")
    assert (tmp_path / "sample").stat().st_size == 2 * SAMPLE_PIECE
