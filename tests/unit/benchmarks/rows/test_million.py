from pathlib import Path

from benchmarks.rows.million import CHANGED, CONTENT, file_of, touch


def test_every_hundredth_file_is_changed(tmp_path: Path) -> None:
    for number in range(250):
        path = file_of(tmp_path, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    touch(tmp_path)
    changed = [number for number in range(250) if file_of(tmp_path, number).read_bytes() != CONTENT]
    assert changed == list(range(0, 250, CHANGED)) == [0, 100, 200]


def test_a_thousand_files_lie_in_a_folder(tmp_path: Path) -> None:
    assert file_of(tmp_path, 1_234_567) == tmp_path / "many/1234/1234567"
