"""The same targets under atheris, which is guided by the coverage of walpy's byte code; `pip install atheris`."""

import random
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["walpy.openpgp", "walpy.stream"]):
    from tests.fuzz.bounds import watched
    from tests.fuzz.engine import Finding, Run, execute
    from tests.fuzz.mutate import LARGEST
    from tests.fuzz.targets import TARGETS


def main(name: str, seconds: float, seed: int, corpus: Path, findings: Path) -> None:
    """Fuzz one target; libFuzzer ends the process. corpus: a folder, to which what is of interest is added."""
    target, run = TARGETS[name], Run(name)
    others = target.seeds()
    corpus.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(others):
        (corpus / f"seed-{index}").write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        chance = random.Random(number)
        return target.mutate(data, chance.choice(others), chance)[:most]

    def run_one(data: bytes) -> None:
        try:
            execute(target, data, run)
        except Finding as finding:
            print(finding.args[2], file=sys.stderr)
            raise

    options = [
        f"-max_total_time={seconds:.0f}",
        f"-seed={seed}",
        f"-max_len={LARGEST}",
        "-timeout=20",
        "-len_control=0",
    ]
    options += ["-rss_limit_mb=1024", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], run_one, custom_mutator=mutate)
    with watched():
        atheris.Fuzz()
