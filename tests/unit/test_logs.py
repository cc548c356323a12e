"""Log lines, levels, destinations and how a failure is told."""

import io
import logging
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from walpy.config import Config
from walpy.errors import ConfigError, Interrupted, ObjectMissing, StorageError
from walpy.logs import HANDLER_NAME, configure_logging, exit_code, log_failure, start_logging

LINE = re.compile(r"(INFO|WARNING|ERROR|DEBUG): \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} (.*)")
logger = logging.getLogger("walpy.test")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("walpy")
    levels = root.level, ours.level
    yield
    start_logging()  # closes a log file
    for handler in [handler for handler in root.handlers if handler.get_name() == HANDLER_NAME]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def lines(text: str) -> list[tuple[str, ...]]:
    matches = [LINE.fullmatch(line) for line in text.splitlines()]
    return [match.groups() for match in matches if match]


def say_all() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "level %d", level)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("NORMAL", ["INFO", "WARNING", "ERROR", "ERROR"]),
        ("DEVEL", ["DEBUG", "INFO", "WARNING", "ERROR", "ERROR"]),
        ("ERROR", ["ERROR", "ERROR"]),
    ],
)
def test_levels(capsys: pytest.CaptureFixture[str], level: str, expected: list[str]) -> None:
    configure_logging(Config.from_mapping({"WALG_LOG_LEVEL": level}))
    say_all()
    assert [name for name, _ in lines(capsys.readouterr().err)] == expected


@pytest.fixture
def _three_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_three_hours_east")
def test_line_is_in_local_time(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging()
    record = logger.makeRecord(logger.name, logging.INFO, "f", 1, "FILE PATH: %s", ("x.lz4",), None)
    record.created = 1777630830.123456  # 10:20:30 UTC
    logger.handle(record)
    assert capsys.readouterr().err == "INFO: 2026/05/01 13:20:30.123456 FILE PATH: x.lz4\n"


def test_wrong_level(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"WALG_LOG_LEVEL has the wrong value 'LOUD' .*expected one of NORMAL, DEVEL"):
        configure_logging(Config.from_mapping({"WALG_LOG_LEVEL": "LOUD"}))


def test_file_destination_is_appended_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "walpy.log"
    config = Config.from_mapping({"WALG_LOG_DESTINATION": str(path)})
    for text in ("one", "two"):
        configure_logging(config)
        logger.info(text)
    assert [line.split()[-1] for line in path.read_text("utf-8").splitlines()] == ["one", "two"]
    assert stat.S_IMODE(path.stat().st_mode) & ~0o644 == 0
    assert capsys.readouterr().err == ""


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot open log file '.*/none/x' \(program\): No such file"):
        configure_logging(Config.from_mapping({"WALG_LOG_DESTINATION": str(tmp_path / "none" / "x")}))


def test_libraries_are_heard_from_error_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("botocore"), "level", logging.NOTSET)  # an S3 storage may have set it
    configure_logging(Config())
    logging.getLogger("botocore").warning("chatter")
    logging.getLogger("botocore").error("trouble")
    assert [text for _, text in lines(capsys.readouterr().err)] == ["trouble"]


def test_debug_lines_of_libraries_are_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config.from_mapping({"WALG_LOG_LEVEL": "DEVEL"}))
    logging.getLogger("botocore").info("x-amz-security-token: s3cret")
    assert capsys.readouterr().err == ""


def test_configuring_again_replaces_only_our_handler(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    try:
        start_logging()
        configure_logging(Config())
        logger.info("once")
        assert len(lines(capsys.readouterr().err)) == 1
        assert foreign in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(foreign)


def test_a_terminals_line_is_erased_first(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        start_logging()
        logger.info("hello")
        assert os.read(controller, 100).startswith(b"\r\x1b[KINFO: ")
    os.close(controller)


def test_failure_is_one_line_with_cause_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging()
    error = StorageError("cannot read 'a'", "Try again.")
    error.__cause__ = OSError("first\nsecond")
    log_failure(error)
    text = capsys.readouterr().err
    assert lines(text) == [("ERROR", "cannot read 'a': first. Try again.")]
    assert len(text.splitlines()) == 1


def test_unexpected_failure_shows_where_at_devel(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config.from_mapping({"WALG_LOG_LEVEL": "DEVEL"}))
    try:
        raise TypeError("wrong")
    except TypeError as error:
        log_failure(error)
    text = capsys.readouterr().err
    assert lines(text)[0][1].startswith("unexpected error: TypeError: wrong.")
    assert text.endswith("TypeError: wrong\n")
    assert "test_logs.py" in text


def test_exit_codes() -> None:
    assert exit_code(StorageError("x")) == 1
    assert exit_code(ObjectMissing("x")) == 74
    assert exit_code(Interrupted("x", "", 15)) == 143
    assert exit_code(TypeError("x")) == 1


def run(code: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


class Signalled(io.StringIO):
    """A stream in whose write a signal arrives."""

    def write(self, text: str) -> int:
        raise Interrupted("interrupted by SIGINT", "", 2)


def test_a_signal_in_the_middle_of_a_log_line_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Signalled())
    start_logging()
    with pytest.raises(Interrupted):
        logger.error("a line")


def test_exit_now_flushes_and_waits_for_nobody() -> None:
    code = (
        "import threading, walpy.logs; threading.Thread(target=threading.Event().wait).start(); print('told', end='');"
    )
    result = run(code + "walpy.logs.exit_now(3)", stdout=subprocess.PIPE)
    assert (result.returncode, result.stdout, result.stderr) == (3, b"told", b"")


def test_a_result_that_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        assert run("import walpy.logs; print('lost'); walpy.logs.exit_now(0)", stdout=full).returncode == 1


def test_closed_streams_are_no_failure() -> None:
    code = "import walpy.logs as logs; logs.start_logging(); logs.log_failure(OSError('x')); logs.exit_now(0)"
    script = f'exec "{sys.executable}" -c "{code}" >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", script], timeout=60).returncode == 0
