"""What the tests of this folder share: one S3 server, and one PostgreSQL server to back up."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.fault_proxy import FaultProxy
from tests.fixtures.postgres import running_server
from tests.fixtures.s3_server import S3Server, settings
from tests.integration.faults.commands import s3_environment
from tests.integration.faults.scene import COMMANDS, Scene
from tests.integration.faults.stage import Stage


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server in this process, without faults."""
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new bucket."""
    return s3.new_bucket()


@pytest.fixture(scope="session")
def server() -> Iterator[Cluster]:
    """A running server that does not archive, for backups of it."""
    with running_server() as cluster:
        yield cluster


@pytest.fixture
def stage(s3: S3Server, bucket: str, server: Cluster, tmp_path: Path) -> Iterator[Stage]:
    """An archive, and commands that talk to it through proxies."""
    with ExitStack() as stack:
        proxies = {command: stack.enter_context(FaultProxy(s3.url)) for command in COMMANDS}
        scene = Scene(tmp_path, s3_environment("", bucket), settings(s3.url, bucket), server).prepare()
        stage = Stage(scene, bucket, proxies, s3.url)
        stack.callback(stage.abandon)
        yield stage


@pytest.fixture
def archiving_nowhere(server: Cluster) -> Iterator[Cluster]:
    """The server, while it archives with a command that always fails."""
    server.configure({"archive_mode": "on", "archive_command": "false"})
    server.stop()
    server.start()
    yield server
    server.configure({"archive_mode": "off"})
    server.stop("immediate")
    server.start()
