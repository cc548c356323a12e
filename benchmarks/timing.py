"""Whole commands, timed from exec to exit, variants interleaved so that all meet the same machine."""

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """One command line to time; prepare runs before each sample, outside the clock."""

    label: str
    command: Sequence[str]
    environment: Mapping[str, str]
    prepare: Callable[[], object] = lambda: None
    directory: str | None = None


def sample(variant: Variant) -> float:
    """Seconds of one run. Raises CalledProcessError with the output when it fails."""
    variant.prepare()
    started = time.perf_counter()
    result = subprocess.run(
        variant.command, env=dict(variant.environment), cwd=variant.directory, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if result.returncode:
        raise SystemExit(f"{variant.label}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return seconds


def compare(variants: Sequence[Variant], rounds: int) -> None:
    """Print minimum, median, maximum in milliseconds, and each median's ratio to the first variant's."""
    samples: dict[str, list[float]] = {variant.label: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            samples[variant.label].append(sample(variant))
    base = statistics.median(samples[variants[0].label])
    print(f"| command | min ms | median ms | max ms | x {variants[0].label} |")
    print("|---|---|---|---|---|")
    for label, values in samples.items():
        low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
        print(f"| {label} | {low:.0f} | {middle:.0f} | {high:.0f} | {middle / 1000 / base:.2f} |")
