"""One run of the command line: where its settings come from, where its result and progress go, and how it ends."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from signal import SIGPIPE
from typing import TYPE_CHECKING, NamedTuple

from walpy.config import PRIMARY_STORAGE, TARGET_KEY, Config, Setting, load_config, load_separate
from walpy.errors import Interrupted, WalpyError
from walpy.logs import configure_logging, exit_code, log_failure
from walpy.progress_bar import log_progress, terminal_progress

if TYPE_CHECKING:
    from walpy.progress import Progress


class Invocation(NamedTuple):
    """What the command line and the process give: setting flags, environment, path of --config."""

    flags: Mapping[str, str]
    environ: Mapping[str, str]
    config_path: str

    def load(self, target_storage: str = "") -> Config:
        """Read the settings and start logging as they say. Raises ConfigError.

        target_storage: value of --target-storage; the setting counts when it is empty.
        """
        config = load_config(self.flags, self.environ, self.config_path)
        configure_logging(config)
        if target_storage:
            config = config.with_settings({TARGET_KEY: Setting(target_storage, "--target-storage")})
        if config.storage_name() != PRIMARY_STORAGE:
            import_module("walpy.config_failover").target_name(config)
        return config

    def load_separate(self, path: str) -> Config:
        """The settings of another archive, from a file of its own. Raises ConfigError."""
        return load_separate(self.load(), path, self.environ)


def told(body: Callable[[], int | None]) -> int:
    """Run what a command does; its exit code, with a failure logged."""
    try:
        return body() or 0
    except Interrupted as error:
        if error.signal_number != SIGPIPE:  # as every program whose output goes to head: without a word
            log_failure(error)
        return exit_code(error)
    except Exception as error:  # noqa: BLE001  # the last place that can turn a defect into a line and an exit code
        log_failure(error)
        return exit_code(error)


def progress_for(config: Config) -> "Progress":
    """A line on the terminal when log lines go to one, else a log line now and then."""
    if config.text("WALG_LOG_DESTINATION") == "stderr" and sys.stderr is not None and sys.stderr.isatty():
        return terminal_progress(sys.stderr)
    return log_progress()


def print_result(text: str) -> None:
    """Write a command's result to stdout, now.

    Raises Interrupted when the reader has gone (`walpy ... | head -1`), WalpyError when it cannot be written otherwise.
    """
    if sys.stdout is None:
        raise WalpyError("cannot write the output: stdout is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What stays in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise Interrupted("the reader of the output has gone", "", SIGPIPE) from None
        raise WalpyError("cannot write the output") from error
