"""The S3 server of most modules here; those for another server have a `server` and a `bucket` of their own."""

from collections.abc import Iterator

import pytest

from tests.fixtures.s3_server import S3Server


@pytest.fixture(scope="module")
def running_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def server(running_server: S3Server) -> S3Server:
    running_server.calm()
    return running_server


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.new_bucket()
