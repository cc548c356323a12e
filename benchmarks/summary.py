"""Statistics of samples, and which ratios a table shows."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["less", "more"]  # which is better: seconds want less, rates more


@dataclass(frozen=True, slots=True)
class Spread:
    """Five numbers of some samples, in their unit, and how many they are."""

    median: float
    low: float
    lower_quartile: float
    upper_quartile: float
    high: float
    p95: float
    count: int


def spread(samples: Sequence[float]) -> Spread:
    """Summary of at least one sample; quantiles are interpolated between neighbours. Raises ValueError without one."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return Spread(
        median=statistics.median(ordered),
        low=ordered[0],
        lower_quartile=quantile(ordered, 0.25),
        upper_quartile=quantile(ordered, 0.75),
        high=ordered[-1],
        p95=quantile(ordered, 0.95),
        count=len(ordered),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of sorted samples lie."""
    position = share * (len(ordered) - 1)
    index = int(position)
    above = ordered[min(index + 1, len(ordered) - 1)]
    return ordered[index] + (above - ordered[index]) * (position - index)


def best(values: Iterable[tuple[str, float]], direction: Direction) -> tuple[str, float] | None:
    """The best of (name, value), or None of none."""
    ordered = sorted(values, key=lambda pair: pair[1])
    if not ordered:
        return None
    return ordered[0] if direction == "less" else ordered[-1]


def is_reached(ratio: float, target: float, direction: Direction) -> bool:
    """Whether a ratio to the best peer is as good as the target."""
    return ratio <= target if direction == "less" else ratio >= target
