from pathlib import Path

from benchmarks.model import OWN, Absent, Plan, Variant
from benchmarks.rows.cold import cold, evict
from tests.unit.backup.test_page_cache import TRIES, cached


def is_forgotten(path: Path) -> bool:
    with path.open("rb") as file:
        return not any(cached(file.fileno()))


def test_files_are_forgotten_after_what_a_program_prepares(tmp_path: Path) -> None:
    path = tmp_path / "base/1/2"
    path.parent.mkdir(parents=True)
    prepared: list[bool] = []

    def prepare() -> None:
        path.write_bytes(bytes(1 << 20))
        prepared.append(is_forgotten(path))

    absent = Absent("other", "other", "not here")
    plan = cold(Plan([Variant(OWN, OWN, lambda: None, prepare), absent], 1, 1.0), tmp_path)
    variant, other = plan.entries
    assert other is absent
    assert isinstance(variant, Variant)

    def is_cold() -> bool:
        variant.prepare()
        return is_forgotten(path)

    assert any(is_cold() for _ in range(TRIES))
    assert not any(prepared)


def test_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    evict(tmp_path)
