import pytest

from benchmarks.summary import best, is_reached, spread


def test_spread_of_a_known_series() -> None:
    found = spread([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.low, found.lower_quartile, found.median, found.upper_quartile, found.high) == (1, 2, 3, 4, 5)
    assert found.p95 == pytest.approx(4.8)
    assert found.count == 5


def test_quantiles_lie_between_neighbours() -> None:
    found = spread([1.0, 2.0])
    assert (found.lower_quartile, found.median, found.upper_quartile) == (1.25, 1.5, 1.75)


def test_one_sample_is_its_own_spread() -> None:
    found = spread([7.0])
    assert {found.low, found.lower_quartile, found.median, found.upper_quartile, found.high, found.p95} == {7.0}


def test_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        spread([])


def test_best_is_least_of_times_and_most_of_rates() -> None:
    values = [("a", 2.0), ("b", 1.0), ("c", 3.0)]
    assert best(values, "less") == ("b", 1.0)
    assert best(values, "more") == ("c", 3.0)
    assert best([], "less") is None


@pytest.mark.parametrize(
    ("ratio", "direction", "reached"),
    [(0.6, "less", True), (0.61, "less", False), (1.2, "more", True), (1.19, "more", False)],
)
def test_a_target_itself_is_reached(ratio: float, direction: str, reached: bool) -> None:
    target = 0.6 if direction == "less" else 1.2
    assert is_reached(ratio, target, direction) is reached  # type: ignore[arg-type]
