"""The WAL commands with a key: what is stored, pushed again, fetched with another key, and refused."""

import os
from pathlib import Path

import pytest

from tests.integration.walpy_process import messages, walpy
from tests.unit.wal.synthetic import FIRST, DataDirectory, segment

KEY = {"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"}
OTHER_KEY = {"WALG_LIBSODIUM_KEY": "another key of more than twenty-five bytes"}
OPENPGP = Path(__file__).resolve().parents[1] / "golden" / "openpgp"
PLAIN = {"WALG_LIBSODIUM_KEY": ""}
NAMES = {
    FIRST: segment(FIRST),
    "00000002.history": b"1\t0/2000000\treason\n",
    f"{FIRST}.00000028.backup": b"START WAL LOCATION: 0/1000028",
    f"{FIRST}.partial": segment(FIRST),
}


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    (tmp_path / "archive").mkdir()
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    archive = str(tmp_path / "archive")
    return {"WALG_FILE_PREFIX": archive, "WALG_DOWNLOAD_CONCURRENCY": "1", "WALPY_REQUIRE_ENCRYPTION": "true", **KEY}


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_file(data: DataDirectory, settings: dict[str, str], name: str, tmp_path: Path) -> None:
    data.add(name, NAMES[name])
    for message in (f"INFO: FILE PATH: {name}.lz4", f"INFO: WAL file 'pg_wal/{name}' already archived with equal"):
        pushed = walpy("wal-push", f"pg_wal/{name}", cwd=data.path, **settings)
        assert pushed.returncode == 0
        assert messages(pushed.stderr)[-1].startswith(message)
    stored = (tmp_path / "archive" / "wal_005" / f"{name}.lz4").read_bytes()
    assert not stored.startswith(b"\x04\x22\x4d\x18")
    fetched = walpy("wal-fetch", name, "pg_wal/RECOVERYXLOG", cwd=data.path, **settings)
    assert fetched.returncode == 0
    assert (data.wal / "RECOVERYXLOG").read_bytes() == NAMES[name]


def test_other_content_is_noticed_behind_the_cipher(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST)
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings).returncode == 0
    data.add(FIRST, segment(FIRST, seed=1))
    again = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings)
    assert again.returncode == 1
    assert "contents differ" in again.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (OTHER_KEY, "encrypted with another key"),
        (PLAIN, "WALG_LIBSODIUM_KEY"),
        ({"WALG_LIBSODIUM_KEY": "x"}, "is no key"),
    ],
)
def test_what_cannot_be_decrypted_leaves_no_file_and_is_no_absence(
    data: DataDirectory, settings: dict[str, str], changes: dict[str, str], said: str
) -> None:
    data.add(FIRST)
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings).returncode == 0
    os.unlink(data.wal / FIRST)
    before = sorted(os.listdir(data.wal))
    for destination, code in (("pg_wal/RECOVERYXLOG", 200), ("../out", 1)):
        result = walpy("wal-fetch", FIRST, destination, cwd=data.path, **{**settings, **changes})
        assert result.returncode == code
        assert said in result.stderr
        assert "twenty-five" not in result.stderr
    assert not (data.path / "../out").exists()
    assert [name for name in sorted(os.listdir(data.wal)) if name not in before] == []


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (
            "rsa4096/key.asc",
            "encrypted for 7F0C88287D566C53, and the secret keys at hand are 7B24B8A585C1B7CF",
        ),
        ("unusable/revoked.asc", "(OpenPGP for 7F0C88287D566C53 (ECDH), SEIPD version 1 (MDC)) cannot be decrypted: "),
        ("", "is OpenPGP for 7F0C88287D566C53 (ECDH), SEIPD version 1 (MDC), and the settings are for libsodium: "),
    ],
    ids=["other key", "public key", "other cipher"],
)
def test_whose_keys_are_no_recipients_gets_no_file_and_no_absence(
    data: DataDirectory, settings: dict[str, str], reader: str, said: str
) -> None:
    data.add(FIRST)
    pushed = walpy(
        "wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings, WALG_PGP_KEY_PATH=str(OPENPGP / "cv25519/key.asc")
    )
    assert pushed.returncode == 0
    os.unlink(data.wal / FIRST)
    before = sorted(os.listdir(data.wal))
    keys = {"WALG_PGP_KEY_PATH": str(OPENPGP / reader)} if reader else {}
    for destination, code in (("pg_wal/RECOVERYXLOG", 200), ("../out", 1)):
        result = walpy("wal-fetch", FIRST, destination, cwd=data.path, **settings, **keys)
        assert result.returncode == code
        assert f"ERROR: object 'wal_005/{FIRST}.lz4' " in messages(result.stderr)[-1]
        assert said in result.stderr
    assert not (data.path / "../out").exists()
    assert [name for name in sorted(os.listdir(data.wal)) if name not in before] == []


def test_a_host_with_public_keys_alone_recognises_what_it_archived(
    data: DataDirectory, settings: dict[str, str], tmp_path: Path
) -> None:
    public = {"WALG_PGP_KEY_PATH": str(OPENPGP / "cv25519" / "public.asc")}
    data.add(FIRST)
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings, **public).returncode == 0
    path = tmp_path / "archive" / f"wal_005/{FIRST}.lz4"
    stored = path.read_bytes()
    again = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings, **public)
    assert again.returncode == 0
    assert messages(again.stderr)[-1].endswith("already archived with equal content, skipping")
    data.add(FIRST, segment(FIRST, seed=1))
    other = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings, **public)
    assert (other.returncode, "contents differ" in other.stderr) == (1, True)
    assert path.read_bytes() == stored


@pytest.mark.parametrize("changes", [PLAIN, {"WALG_LIBSODIUM_KEY": "short"}, {"WALG_PGP_KEY_PATH": "/nowhere"}])
def test_nothing_is_stored_with_a_key_that_is_none(
    data: DataDirectory, settings: dict[str, str], changes: dict[str, str], tmp_path: Path
) -> None:
    data.add(FIRST)
    pushed = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **{**settings, **changes})
    assert pushed.returncode == 1
    assert list((tmp_path / "archive").rglob("*")) == []


def test_commands_that_need_no_key_ask_for_none(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST)
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings).returncode == 0
    wrong = {**settings, "WALG_LIBSODIUM_KEY": "short"}
    for command in (["backup-list"], ["wal-show"], ["st", "ls", "-r"], ["config", "show"]):
        result = walpy(*command, cwd=data.path, **wrong)
        assert result.returncode == 0, result.stderr
    assert "short" not in result.stdout


def test_inspect(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST)
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings).returncode == 0
    shown = walpy("st", "inspect", f"wal_005/{FIRST}.lz4", cwd=data.path, **settings)
    assert shown.returncode == 0
    assert "keys in hand: libsodium opens" in shown.stdout
