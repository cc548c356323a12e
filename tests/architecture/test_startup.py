"""What the commands that PostgreSQL starts for every segment may import."""

import subprocess
import sys

import pytest

HEAVY = {
    "asyncio",
    "azure",
    "boto3",
    "botocore",
    "cryptography",
    "dataclasses",  # brings inspect: 8 ms, and most of a millisecond for each class
    "google",
    "multiprocessing",
    "nacl",
    "numpy",
    "psycopg",
    "subprocess",
    "tempfile",
    "typer",
    "urllib.request",
    "walpy.stream.ciphers",
    "yaml",
}


def imported(*modules: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter that has imported modules."""
    program = f"import sys, {', '.join(modules)}; print(' '.join(sys.modules))"
    # -I -S would lose an editable install; what site itself imports is taken away instead.
    bare, full = (
        set(subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout.split())
        for text in ("import sys; print(' '.join(sys.modules))", program)
    )
    return full - bare


@pytest.mark.parametrize(
    "modules",
    [
        ["walpy.__main__", "walpy.wal.push", "walpy.archive", "walpy.storage.fs"],
        ["walpy.__main__", "walpy.wal.fetch", "walpy.wal.prefetch", "walpy.archive", "walpy.storage.fs"],
    ],
)
def test_wal_commands_import_nothing_heavy(modules: list[str]) -> None:
    found = imported(*modules)
    assert set(modules) <= found
    assert not found & HEAVY
    assert "walpy.cli" not in found


def test_a_marked_or_prefetched_file_needs_no_storage() -> None:
    found = imported("walpy.__main__", "walpy.wal.push", "walpy.wal.fetch")
    assert not {name for name in found if name in ("walpy.archive", "walpy.storage.fs", "walpy.storage.s3", "ssl")}


@pytest.mark.parametrize(
    ("settings", "library"),
    [
        ({"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"}, "nacl"),
        ({"YC_CSE_KMS_KEY_ID": "key"}, "cryptography"),
        ({}, ""),
    ],
)
def test_only_the_library_of_the_cipher_in_use_is_imported(settings: dict[str, str], library: str) -> None:
    names = "walpy.archive import Archive", "walpy.config import Config", "walpy.stream.codecs import codec"
    imports = "".join(f"from {name}; " for name in names)
    opening = f"Archive(Config.from_mapping({settings!r}), None, codec('lz4')).cipher"
    program = f"import sys; {imports}{opening}; print(' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"nacl", "cryptography", "botocore", "google"}.intersection(found) == ({library} if library else set())
