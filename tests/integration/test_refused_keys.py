"""A cipher that cannot encrypt fails a command that would store data at its start: nothing begun, nothing stored."""

import os
import re
from pathlib import Path

import pytest

from tests.fixtures.ciphers import AwsServer, serving
from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import ClusterFactory
from tests.integration.walpy_process import walpy
from tests.unit.wal.synthetic import FIRST, DataDirectory
from walpy.postgres.server import SESSION

UNUSABLE = Path(__file__).resolve().parents[1] / "golden/openpgp/unusable"
EXPIRED = {"WALG_PGP_KEY_PATH": str(UNUSABLE / "expired.asc")}
SHORT = {"WALG_LIBSODIUM_KEY": "00" * 31, "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
REFUSED = [
    (EXPIRED, "cannot encrypt a message to key id 57A4D0144303C8A9 because it expired on 2020-01-02"),
    (
        {"WALG_PGP_KEY_PATH": str(UNUSABLE / "revoked.asc")},
        "cannot encrypt a message to key id 256AB79EE733845E because it is revoked",
    ),
    (
        {"WALG_PGP_KEY_PATH": str(UNUSABLE / "sign-only.asc")},
        "cannot encrypt a message to key id B6249769457DAE81 because it has no valid encryption keys",
    ),
    ({"WALG_PGP_KEY_PATH": "/nowhere"}, "'/nowhere' of WALG_PGP_KEY_PATH"),
    ({"WALG_ENVELOPE_PGP_KEY": "?", "WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID": "k"}, "WALG_ENVELOPE_PGP_KEY is no base64"),
    (SHORT, "it stands for 31 bytes, and must stand for 32"),
    ({"WALPY_REQUIRE_ENCRYPTION": "true"}, "data would be stored plain"),
]
AWS = {
    "WALG_CSE_KMS_ID": "alias/archive",
    "WALG_CSE_KMS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "y",
}


@pytest.fixture
def server(make_cluster: ClusterFactory, archive_folder: Path) -> Cluster:
    """A server that logs whatever it is asked."""
    settings = {"log_statement": "all", "log_replication_commands": "on"}
    environment = {"WALG_FILE_PREFIX": str(archive_folder), "WALG_SLOTNAME": "walpy"}
    return make_cluster(settings=settings, environment=environment)


def asked(server: Cluster) -> list[str]:
    """What the server was asked, but for a session's own settings: a backup connects while it still starts."""
    kinds = "(?:statement|execute [^:]*|received replication command)"
    found = re.findall(rf"LOG:  {kinds}: *(.*(?:\n\t.*)*)", server.log.read_text())
    session = SESSION.strip().replace("\n", "\n\t")
    return [statement for statement in found if statement.strip() != session]


def test_a_backup_is_seen(server: Cluster) -> None:
    server.walpy("backup-push", str(server.data_directory))
    assert any("pg_backup_start" in statement for statement in asked(server))


def test_a_backup_does_not_begin(server: Cluster, archive_folder: Path) -> None:
    for settings, said in REFUSED:
        result = server.walpy("backup-push", str(server.data_directory), check=False, **settings)
        assert (result.returncode, said in result.stderr) == (1, True), result.stderr
    result = server.walpy("wal-receive", check=False, **EXPIRED)
    assert (result.returncode, "it expired on 2020-01-02" in result.stderr) == (1, True)
    assert os.listdir(archive_folder) == []
    assert asked(server) == []


def test_a_key_service_that_refuses_stops_a_backup_before_it_begins(server: Cluster, archive_folder: Path) -> None:
    with serving(AwsServer()) as service:
        service.failures += [(400, "AccessDeniedException")]
        settings = AWS | {"AWS_ENDPOINT_URL_KMS": service.url}
        result = server.walpy("backup-push", str(server.data_directory), check=False, **settings)
        assert (result.returncode, "cannot encrypt a data key with AWS KMS" in result.stderr) == (1, True)
        assert service.requests == ["Encrypt"]
    assert os.listdir(archive_folder) == []
    assert asked(server) == []


def test_a_segment_claims_no_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    data = DataDirectory(tmp_path / "data")
    data.add(FIRST, ready=True)
    for settings, said in REFUSED:
        for arguments in ([str(data.wal / FIRST)], ["--missing", str(data.path)]):
            where = {"WALG_FILE_PREFIX": str(tmp_path / "archive"), **settings}
            result = walpy("wal-push", *arguments, cwd=tmp_path, **where)
            assert (result.returncode, said in result.stderr) == (1, True), result.stderr
    assert os.listdir(tmp_path / "archive") == []
