import pytest

from benchmarks.interleave import DROPS_PER_ROUND, Series, cell_of, collect, judge
from benchmarks.model import Plan, Row, Sample, Variant, nothing


def sample(wall: float = 1.0, other: float = 0.0, **more: float) -> Sample:
    return Sample(wall=wall, cpu=more.get("cpu", 0.0), servers=0.0, other=other)


def series(*labels: str) -> list[Series]:
    return [Series(Variant("walpy", label, nothing)) for label in labels]


def test_long_samples_are_judged_alone_and_short_ones_by_their_turn() -> None:
    turn = [sample(2.0, 0.6), sample(2.0, 0.4), sample(0.1, 0.0), sample(0.1, 0.2)]
    assert judge(turn) == [True, False, True, True]
    assert judge([sample(0.4, 0.01), sample(0.4, 0.1)]) == [False, False]


def test_variants_take_turns() -> None:
    order: list[str] = []

    def take(one: Series) -> Sample:
        order.append(one.variant.label)
        return sample()

    collect(series("a", "b", "c"), 2, take)
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_a_disturbed_sample_is_taken_again_and_the_others_are_kept() -> None:
    others = iter([0.9, 0.0, 0.0])
    both = series("a", "b")
    collect(both, 1, lambda one: sample(other=next(others)))
    assert [(len(one.clean), len(one.dropped)) for one in both] == [(1, 1), (1, 0)]


def test_a_busy_machine_ends_the_row() -> None:
    both = series("a", "b")
    collect(both, 2, lambda _: sample(other=0.9))
    drops = sum(len(one.dropped) for one in both)
    assert DROPS_PER_ROUND * 4 < drops <= DROPS_PER_ROUND * 4 + 2
    cell = cell_of(both[0], Row("r", "r", "r"), Plan([], 2, 1.0))
    assert (cell.status, cell.dropped) == ("busy", len(both[0].dropped))
    assert cell.values


def test_a_variant_that_fails_does_not_stop_the_others() -> None:
    both = series("a", "b")

    def take(one: Series) -> Sample | None:
        if one.variant.label == "a":
            one.error = "broken"
            return None
        return sample()

    collect(both, 3, take)
    assert len(both[1].clean) == 3
    assert cell_of(both[0], Row("r", "r", "r"), Plan([], 3, 1.0)).reason == "broken"


@pytest.mark.parametrize(("unit", "value"), [("s", 2.0), ("/s", 5.0)])
def test_a_cell_in_the_unit_of_its_row(unit: str, value: float) -> None:
    one = series("a")[0]
    one.clean = [sample(2.0, cpu=3.0)]
    cell = cell_of(one, Row("r", "r", "r", unit=unit), Plan([], 1, amount=1.5, count=10))
    assert (cell.values, cell.cpu_per_gb, cell.status) == ([value], 2.0, "measured")


def test_bytes_received_are_what_is_stored() -> None:
    one = series("a")[0]
    one.clean = [Sample(1.0, 0, 0, 0, {"put": 2, "bytes received": 77})]
    cell = cell_of(one, Row("r", "r", "r"), Plan([], 1, 1.0))
    assert (cell.stored, cell.requests) == (77, {"put": 2})


def test_a_plan_without_an_amount_has_no_time_per_gb() -> None:
    one = series("a")[0]
    one.clean = [sample()]
    assert cell_of(one, Row("r", "r", "r"), Plan([], 1, 0.0)).cpu_per_gb is None
