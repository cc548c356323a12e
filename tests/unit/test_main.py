"""Which command lines the entry point answers itself."""

import signal

import pytest

from walpy.__main__ import parse, signal_code


@pytest.mark.parametrize(
    ("argv", "arguments", "flags", "config_path"),
    [
        (["wal-push", "pg_wal/x"], ["pg_wal/x"], {}, ""),
        (["wal-fetch", "x", "y"], ["x", "y"], {}, ""),
        (["wal-prefetch", "x", "y"], ["x", "y"], {}, ""),
        (["--config", "/c.json", "wal-push", "x"], ["x"], {}, "/c.json"),
        (["wal-push", "x", "--config=/c.json"], ["x"], {}, "/c.json"),
        (["wal-push", "--pg-ready-rename=true", "x"], ["x"], {"PG_READY_RENAME": "true"}, ""),
        (["wal-push", "x", "--target-storage", "default"], ["x"], {"WALG_TARGET_STORAGE": "default"}, ""),
        (["wal-push", "--target-storage=other", "x"], ["x"], {"WALG_TARGET_STORAGE": "other"}, ""),
    ],
)
def test_plain_forms(argv: list[str], arguments: list[str], flags: dict[str, str], config_path: str) -> None:
    request = parse(argv)
    assert request is not None
    assert (list(request.arguments), dict(request.flags), request.config_path) == (arguments, flags, config_path)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["wal-push"],
        ["wal-push", "x", "y"],
        ["wal-fetch", "x"],
        ["wal-push", "--help"],
        ["wal-push", "-h", "x"],
        ["wal-push", "--frob", "x"],
        ["wal-push", "x", "--target-storage"],
        ["wal-push", "x", "--config"],
        ["--", "wal-push", "x"],
        ["backup-list"],
        ["--version"],
    ],
)
def test_everything_else_is_clis(argv: list[str]) -> None:
    assert parse(argv) is None


def test_codes_of_signals() -> None:
    assert signal_code("wal-push", signal.SIGTERM) == 1  # above 125 the archiver would restart
    assert signal_code("wal-fetch", signal.SIGTERM) == 143
