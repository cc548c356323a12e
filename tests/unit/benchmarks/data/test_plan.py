import pytest

from benchmarks.data.plan import (
    ACCOUNTS_PER_PAGE,
    ACCOUNTS_PER_SCALE,
    FULL,
    QUICK,
    SMALL_SIZES,
    segment_kinds,
    small_file,
)


def test_a_segment_has_a_kind_when_one_phase_wrote_all_of_it() -> None:
    names = [f"{number:024X}" for number in range(8)]
    phases = [("copy", names[0], names[3]), ("oltp", names[3], names[4]), ("copy", names[4], names[7])]
    kinds = segment_kinds(names, phases)
    assert [kinds[name] for name in names] == ["mixed", "copy", "copy", "mixed", "mixed", "copy", "copy", "mixed"]


def test_small_files_have_names_of_their_own() -> None:
    files = [small_file(number) for number in range(2500)]
    assert len({path for path, _ in files}) == 2500
    assert {path.split("/")[1] for path, _ in files} == {"000", "001", "002"}
    assert [size for _, size in files[: len(SMALL_SIZES)]] == list(SMALL_SIZES)


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_changed_accounts_lie_on_pages_of_their_own(plan: object) -> None:
    assert plan.pages_apart >= ACCOUNTS_PER_PAGE  # type: ignore[attr-defined]


def test_the_full_plan_is_as_big_as_promised() -> None:
    pages = FULL.scale * ACCOUNTS_PER_SCALE // ACCOUNTS_PER_PAGE
    assert pages * 8192 > 2**30  # pgbench_accounts fills a first file of 1 GiB
    assert FULL.small_files == 80_000
    assert FULL.backups == (1_000, 10_000)
    assert FULL.burst <= 100
