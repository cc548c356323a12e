"""Log lines as WAL-G writes them: `INFO: 2026/05/01 10:20:30.123456 message`, in local time, to stderr or a file.

WALG_LOG_LEVEL: NORMAL (INFO, WARNING, ERROR), DEVEL (DEBUG too, and tracebacks) or ERROR. WALG_LOG_DESTINATION:
`stderr` or a file to append to. On a terminal a line first erases the progress line that may stand there.
"""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from walpy.errors import ConfigError, Interrupted, WalpyError, describe
from walpy.interrupts import release_shared_resources

if TYPE_CHECKING:
    from io import TextIOWrapper

    from walpy.config import Config

LEVELS = {"NORMAL": logging.INFO, "DEVEL": logging.DEBUG, "ERROR": logging.ERROR}
ERASE_LINE = "\r\x1b[K"
HANDLER_NAME = "walpy"  # of the handler that is ours to replace

logger = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """One record as WAL-G's line; tracebacks only when wanted."""

    def __init__(self, *, tracebacks: bool = False, prefix: str = "") -> None:
        super().__init__()
        self._tracebacks = tracebacks
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """`LEVEL: date time message`; levels above ERROR count as ERROR."""
        level = "ERROR" if record.levelno > logging.ERROR else record.levelname
        moment = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.created))
        microseconds = int(record.created % 1 * 1_000_000)
        line = f"{self._prefix}{level}: {moment}.{microseconds:06d} {record.getMessage()}"
        if self._tracebacks and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def start_logging() -> None:
    """Log to stderr at level NORMAL: for what is said before the configuration is known."""
    _install(_to_stderr(), logging.INFO)


def configure_logging(config: "Config", stderr_handler: logging.Handler | None = None) -> None:
    """Log as configured; for entry points and worker initializers. stderr_handler: takes the place of stderr.

    Libraries are heard from ERROR on (from WARNING on with DEVEL; never their DEBUG lines, which show credentials).
    Raises ConfigError for an unknown level and for a file that cannot be opened.
    """
    level = config.text("WALG_LOG_LEVEL")
    if level not in LEVELS:
        raise config.invalid("WALG_LOG_LEVEL", f"expected one of {', '.join(LEVELS)}")
    _install(_handler(config, stderr_handler), LEVELS[level])


def log_failure(error: BaseException) -> None:
    """Log why the command failed, as one ERROR line that ends with the hint; with a traceback at level DEVEL."""
    *before, last = describe(error).splitlines()
    text = ". ".join([*(line.rstrip(".") for line in before), last])
    if not isinstance(error, WalpyError):
        text = f"unexpected error: {type(error).__name__}: {text}. Set WALG_LOG_LEVEL=DEVEL to see where."
    logger.error("%s", text, exc_info=error)


def exit_code(error: BaseException) -> int:
    """Exit code of a command that ended with this error; 128 + n for a signal, as a shell tells it."""
    if isinstance(error, Interrupted):
        return 128 + error.signal_number
    return error.exit_code if isinstance(error, WalpyError) else 1


def exit_now(code: int) -> None:
    """End the process, whatever threads still run, once what was written is flushed.

    A result that cannot be written turns success into exit code 1; log lines that nobody takes do not.
    """
    logging.shutdown()
    release_shared_resources()
    try:
        if sys.stdout is not None:  # None: the descriptor was closed before we started
            sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 1
    os._exit(code)


class _Interruptible(logging.Handler):
    """A handler that a signal can end: the logging module takes any exception of a write for a failure to log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Let Interrupted pass; other failures are told on stderr."""
        if isinstance(sys.exc_info()[1], Interrupted):
            raise  # the exception that is being handled
        super().handleError(record)


class _LogStream(_Interruptible, logging.StreamHandler[TextIO]):
    """Writes to stderr."""


class _LogFile(_Interruptible, logging.FileHandler):
    """Appends to a file, which is made with mode 0644 less umask, as by WAL-G."""

    def _open(self) -> "TextIOWrapper":
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_open_0644)


def _open_0644(path: str, flags: int) -> int:
    return os.open(path, flags, 0o644)


def _handler(config: "Config", stderr_handler: logging.Handler | None) -> logging.Handler:
    path = config.text("WALG_LOG_DESTINATION")
    if path == "stderr":
        return stderr_handler or _to_stderr()
    try:
        return _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"cannot open log file {path!r} ({config.origin('WALG_LOG_DESTINATION')}): {error.strerror}",
            "Set WALG_LOG_DESTINATION to a file in an existing directory, or to stderr.",
        ) from None


def _to_stderr() -> logging.Handler:
    """To sys.stderr, or to nowhere when the descriptor was closed before we started."""
    return _LogStream(sys.stderr) if sys.stderr is not None else logging.NullHandler()


def _install(handler: logging.Handler, level: int) -> None:
    development = level == logging.DEBUG
    stream = getattr(handler, "stream", None)
    prefix = ERASE_LINE if stream is not None and stream.isatty() else ""
    handler.set_name(HANDLER_NAME)
    handler.setFormatter(LineFormatter(tracebacks=development, prefix=prefix))
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == HANDLER_NAME]:
        root.removeHandler(old)
        old.close()  # a log file; never stderr
    root.addHandler(handler)
    root.setLevel(logging.WARNING if development else logging.ERROR)
    logging.getLogger("walpy").setLevel(level)
