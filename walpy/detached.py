"""Starts walpy processes that nobody waits for."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from walpy.config import Config

# Runs a module without the working directory on the module path: what lies there is data.
PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from {module} import main; main()"


def start_detached(module: str, words: "Sequence[str]", config: "Config", environ: "Mapping[str, str]") -> None:
    """Run main() of a module with words as its arguments, in a session of its own, with the settings of config.

    Nothing of it reaches our streams. No secret is among its arguments. Raises OSError.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    null += [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", PROGRAM.format(module=module), root, *words],
        {**environ, **config.child_environment()},
        file_actions=null,
        setsid=True,
    )
