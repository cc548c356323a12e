"""A short run of the fuzzer over every target, the same each time; and the fuzzer notices what it is for."""

import random
import tracemalloc

import pytest

from tests.fuzz.bounds import GROWTH, watched
from tests.fuzz.engine import Finding, Run, execute, fuzz
from tests.fuzz.messages import framed
from tests.fuzz.mutate import packets_of
from tests.fuzz.targets import TARGETS, Target, check_reader
from walpy.errors import DataCorrupt, WalpyError

EXECUTIONS = 400


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run(name: str) -> None:
    run = fuzz(TARGETS[name], executions=EXECUTIONS, seed=1)
    assert run.executions >= EXECUTIONS
    assert run.accepted


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_cost_little_memory(name: str) -> None:
    target = TARGETS[name]
    inputs = target.seeds()
    tracemalloc.start()
    for data in inputs:
        target.check(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < GROWTH // 4


@pytest.mark.parametrize("seed", range(20))
def test_packets_survive_every_right_framing(seed: int) -> None:
    chance = random.Random(seed)
    packets = [(18, chance.randbytes(size)) for size in (0, 1, 500, 9000)]
    made = b"".join(framed(tag, body, chance) for tag, body in packets[:3])
    while made[0] & 0xC3 == 0x83:  # one that reaches to the end swallows those behind it
        made = b"".join(framed(tag, body, chance) for tag, body in packets[:3])
    assert (packets_of(made) or [])[:1] == packets[:1]
    assert packets_of(framed(*packets[3], chance)) == packets[3:]


class Careless:
    """A reader with the faults that the fuzzer is there to find, chosen by the input's first byte."""

    def __init__(self) -> None:
        self._data = b""

    def update(self, chunk: bytes) -> bytes:
        self._data += chunk
        if self._data[:1] == b"i":
            raise IndexError
        if self._data[:1] == b"c" and len(chunk) < 14:
            raise DataCorrupt("a short chunk")
        while self._data[:1] == b"h":
            pass
        return b"early" if self._data[:1] == b"e" else b""

    def finish(self) -> bytes:
        if self._data[:1] == b"e":
            raise DataCorrupt("late")
        return self._data


def _check(data: bytes) -> WalpyError | None:
    return check_reader(data, Careless, [b"plain", b"c" * 14], is_authentic=True)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setattr("tests.fuzz.bounds.CPU_SECONDS", 0.1)
    return Target("careless", lambda: [b"plain"], lambda data, other, chance: chance.choice(FAULTS)[0], _check)


FAULTS = (
    (b"i", "IndexError"),
    (b"other", "other bytes were taken for complete"),
    (b"e", "bytes were given that are not authentic"),
    (b"c" * 14, "the verdict depends on how the input is cut"),
    (b"h", "of CPU time"),
)


@pytest.mark.parametrize(("data", "problem"), FAULTS)
def test_faults_are_found(careless: Target, data: bytes, problem: str) -> None:
    run = Run("careless")
    with watched(), pytest.raises(Finding, match=problem):
        execute(careless, data, run)


def test_a_run_ends_with_what_it_finds(careless: Target) -> None:
    with pytest.raises(Finding) as found:
        fuzz(careless, executions=100)
    assert found.value.args[1] in dict(FAULTS)
