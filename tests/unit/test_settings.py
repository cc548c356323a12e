"""The table of settings, against the flags that WAL-G itself lists."""

import json
from pathlib import Path

import pytest

from walpy.settings import ALIASES_WITH_FLAG, ENCRYPTION_KEYS, KNOWN, flag_of, has_flag, is_secret, key_of_flag, known

WALG_FLAGS = set(
    json.loads((Path(__file__).parents[1] / "golden/walg-cli/flags.json").read_text("utf-8"))["setting_flags"]
)


def test_every_setting_flag_of_walg_exists_and_no_other_but_our_own() -> None:
    ours = {flag_of(key)[2:] for key in KNOWN.keys() | ALIASES_WITH_FLAG if has_flag(key)}
    assert ours - WALG_FLAGS == {name for name in ours if name.startswith("walpy-")}
    assert WALG_FLAGS - ours == set()


def test_flags_and_keys_are_each_others_inverse() -> None:
    for key in KNOWN.keys() | ALIASES_WITH_FLAG:
        assert key_of_flag(flag_of(key)) == (key if has_flag(key) else None)


@pytest.mark.parametrize(
    "flag", ["--WALG-S3-PREFIX", "--walg_s3_prefix", "--config", "--detail", "--", "--walg-target-storage"]
)
def test_other_flags_are_no_settings(flag: str) -> None:
    assert key_of_flag(flag) is None


def test_every_default_can_be_read() -> None:
    for key, entry in KNOWN.items():
        if entry.default:
            assert entry.parse(entry.default) is not None, key


def test_aliases_of_storage_settings_are_known() -> None:
    assert known("WALG_S3_SSE") is known("WALE_S3_SSE") is known("S3_SSE") is not None
    assert known("WALE_GS_PREFIX") is not None
    assert known("WALG_WALG_S3_SSE") is None
    assert known("WALG_PGHOST") is None


SECRETS = """
WALG_GPG_KEY_ID WALE_GPG_KEY_ID AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
AZURE_STORAGE_ACCESS_KEY AZURE_STORAGE_SAS_TOKEN GOOGLE_APPLICATION_CREDENTIALS OSS_ACCESS_KEY_ID OSS_ACCESS_KEY_SECRET
OSS_SESSION_TOKEN WALG_LIBSODIUM_KEY PGPASSWORD WALG_PGP_KEY WALG_PGP_KEY_PASSPHRASE
WALG_ENVELOPE_PGP_KEY SSH_PASSWORD OS_PASSWORD S3_SSE_C WALG_S3_SSE_C
GCS_ENCRYPTION_KEY WALE_GCS_ENCRYPTION_KEY AWS_SECRET_KEY WALG_FAILOVER_STORAGES WALG_NEW_SECRET
WALPY_SOME_TOKEN
"""


@pytest.mark.parametrize("key", SECRETS.split())
def test_secrets(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["WALG_S3_PREFIX", "WALG_PGP_KEY_PATH", "WALG_NEW_KEY_FILE", "PGUSER", "S3_SSE"])
def test_no_secrets(key: str) -> None:
    assert not is_secret(key)


def test_encryption_keys_are_known() -> None:
    assert set(ENCRYPTION_KEYS) <= KNOWN.keys()
