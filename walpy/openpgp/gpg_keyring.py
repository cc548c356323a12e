"""Keys of the gpg program's keyring, by their id, for WAL-G's old settings."""

import base64
import binascii
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from walpy.errors import ConfigError

CACHE_NAME = ".walg_key_cache"  # in the home directory: WAL-G's copy of a public key
TIMEOUT_SECONDS = 60


def public_key_of_gpg(key_id: str, home: str) -> bytes:
    """The armored public key with an id: from WAL-G's cache, else from gpg, and then put there.

    home: directory of the cache; empty: none. Raises ConfigError.
    """
    cache = Path(home, CACHE_NAME) if home else None
    cached = _cached(cache, key_id) if cache else None
    if cached is not None:
        return cached
    data = _export(key_id, "--export")
    if cache is not None:
        _store(cache, key_id, data)
    return data


def secret_key_of_gpg(key_id: str) -> bytes:
    """The armored secret key with an id, from gpg. Raises ConfigError."""
    return _export(key_id, "--export-secret-key")


def _export(key_id: str, command: str) -> bytes:
    """What gpg exports; as in WAL-G, anything on its stderr is an error."""
    arguments = ["gpg", "--batch", "-a", command, "--", key_id]
    hint = "Import the key into the keyring of this user, or set WALG_PGP_KEY_PATH to a file with it."
    try:
        result = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise ConfigError(f"cannot get key {key_id} from gpg: {reason}", hint) from None
    if result.stderr.strip() or result.returncode or not result.stdout:
        said = result.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {result.returncode}"]
        raise ConfigError(f"cannot get key {key_id} from gpg: {said[0]}", hint)
    return result.stdout


def _cached(cache: Path, key_id: str) -> bytes | None:
    try:
        document = json.loads(cache.read_bytes())
        if document["keyId"] != key_id:
            return None
        return base64.b64decode(document["body"], validate=True)
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return None  # gpg has the key itself


def _store(cache: Path, key_id: str, data: bytes) -> None:
    """Keep a public key where WAL-G does; without the cache gpg is asked again."""
    temporary = cache.with_name(f"{CACHE_NAME}.{os.getpid()}")
    text = json.dumps({"keyId": key_id, "body": base64.b64encode(data).decode()})
    with suppress(OSError):
        temporary.write_text(text, "utf-8")
        temporary.replace(cache)
