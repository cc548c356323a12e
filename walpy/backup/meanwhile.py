"""One call in a thread of its own, while the caller does something else."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def meanwhile(function: Callable[[], Result]) -> "Future[Result]":
    """Begin a call; what it gives or raises is the future's.

    Nobody else waits for it: neither a caller that fails meanwhile, nor the end of the process.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the caller raises it
            future.set_exception(error)

    threading.Thread(target=run, name=getattr(function, "__name__", "meanwhile"), daemon=True).start()
    return future
