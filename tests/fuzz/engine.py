"""The mutation fuzzer: changes inputs that were of interest before, and watches what each new one does.

An input is of interest when it ends a reader at a place, or on a way to that place, that no input did before: the lines
of the traceback stand in for coverage. A run is decided by its seed.
"""

import gc
import random
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.fuzz.bounds import Hang, MemoryLimit, limit_time, watched
from tests.fuzz.mutate import LARGEST
from tests.fuzz.targets import Target
from walpy.errors import WalpyError

MOST_CHANGES = 4
MOST_KEPT = 400  # inputs
COLLECTED = 64  # executions between collections: a kept error and the frames that saw it are a cycle of some 100 KiB


class Finding(Exception):
    """An input for which a target's promises do not hold. args: name of the target, the input, what happened."""


@dataclass
class Run:
    """What a target's run came to. endings: how many ways to end there were."""

    target: str
    executions: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  # CPU seconds of one input
    endings: set[object] = field(default_factory=set)

    def __str__(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0.0
        return (
            f"{self.target:17} {self.executions:9} executions, {rate:6.0f}/s, {self.accepted:8} accepted, "
            f"{len(self.endings):4} endings, slowest {1000 * self.slowest:.0f} ms"
        )


def execute(target: Target, data: bytes, run: Run) -> bool:
    """Run one input; whether it ended in a new way. Raises Finding."""
    started = time.process_time()
    try:
        with limit_time():
            error = target.check(data)
    except (Hang, Exception) as problem:
        raise Finding(target.name, data, "".join(traceback.format_exception(problem))) from problem
    run.slowest = max(run.slowest, time.process_time() - started)
    run.executions += 1
    run.accepted += error is None
    ending = _ending(error)
    is_new = ending not in run.endings
    run.endings.add(ending)
    return is_new


def _ending(error: WalpyError | None) -> object:
    places: list[object] = []
    cause: BaseException | None = error
    while cause:  # also what our error stands for
        places.append(type(cause))
        step = cause.__traceback__
        while step:
            places.append((step.tb_frame.f_code, step.tb_lineno))
            step = step.tb_next
        cause = cause.__context__
    return tuple(places)


def fuzz(target: Target, *, seconds: float = 0.0, executions: int = 0, seed: int = 0) -> Run:
    """Fuzz for so many seconds, or so many executions. Raises Finding."""
    chance, run = random.Random(f"{seed} {target.name}"), Run(target.name)
    corpus = list(target.seeds())
    with watched():
        for data in corpus:
            execute(target, data, run)
        gc.collect()
        gc.freeze()  # what is there by now need not be looked at again
        memory, started = MemoryLimit(), time.monotonic()
        while run.executions < executions or run.seconds < seconds:
            data = changed(target, corpus, chance)
            if execute(target, data, run) and len(corpus) < MOST_KEPT:
                corpus.append(data)
            run.seconds = time.monotonic() - started
            if run.executions % COLLECTED == 0:
                gc.collect()
            try:
                memory.check()
            except AssertionError as error:
                raise Finding(target.name, data, str(error)) from None
    gc.unfreeze()
    return run


def changed(target: Target, corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """An input of the corpus after some changes; short ones, which are quick, more often."""
    data = min(chance.sample(corpus, 2), key=len) if chance.random() < 0.7 else chance.choice(corpus)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        data = target.mutate(data, chance.choice(corpus), chance)[:LARGEST]
    return data
