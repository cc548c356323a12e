"""What WAL-G encrypted is read, in each key form."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.ciphers import AwsServer, serving
from walpy.archive import open_archive
from walpy.config import Config
from walpy.inspecting import inspect_object

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
EXPECTED: dict[str, dict[str, dict[str, str]]] = json.loads((GOLDEN / "ciphers" / "expected.json").read_text())
SODIUM: dict[str, Any] = json.loads((GOLDEN / "archives" / "walg-sodium" / "expected.json").read_text())
FOLDERS = {name: (GOLDEN / "ciphers" / name, found) for name, found in EXPECTED.items()}
FOLDERS["sodium-hex"] = (GOLDEN / "archives" / "walg-sodium", SODIUM)


@pytest.fixture
def port() -> Iterator[int]:
    with serving(AwsServer()) as server:
        yield server.server_port


@pytest.mark.parametrize("name", FOLDERS)
def test_every_object_is_read(name: str, port: int) -> None:
    folder, expected = FOLDERS[name]
    settings = {
        key: value.replace("@ROOT@", str(folder)).replace("@PORT@", str(port)) for key, value in expected["env"].items()
    }
    archive = open_archive(Config.from_mapping(settings))
    digests = {}
    for file_name in expected["wal_sha256"]:
        with archive.open_wal(file_name) as chunks:
            digests[file_name] = hashlib.sha256(b"".join(map(bytes, chunks))).hexdigest()
        cipher = "AWS KMS" if name == "aws-kms" else "libsodium"
        text = inspect_object(archive, f"wal_005/{file_name}.lz4")
        assert text.endswith(f"keys in hand: {cipher} opens all of it\ndecrypted: lz4\n")
    assert digests == expected["wal_sha256"]
