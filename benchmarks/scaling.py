"""How a backup scales: CPU time of the parent and of the workers with 1, 2, 4 workers, and what follows from it."""

from benchmarks.session import Options


def scaling(_options: Options) -> str:
    """Filled in next."""
    return ""
