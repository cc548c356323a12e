"""The agent with a storage over the network: a silent server, refused credentials, a warm client."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.integration.agent.agents import SECONDS, Site, wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def s3_site(make_site: Callable[..., Site], server: S3Server, proxy: FaultProxy) -> Site:
    """A site on a bucket of its own behind the proxy, with an agent that has served."""
    bucket = server.new_bucket()
    site = make_site(
        WALG_FILE_PREFIX="",
        WALG_S3_PREFIX=f"s3://{bucket}/cluster",
        AWS_ENDPOINT=proxy.url,
        AWS_REGION="eu-central-1",
        AWS_S3_FORCE_PATH_STYLE="true",
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        WALPY_STORAGE_DEADLINE="3s",
        WALPY_READ_TIMEOUT="2s",
        WALPY_CONNECT_TIMEOUT="2s",
    )
    site.start_agent()
    return site


def test_a_new_segment_is_one_request(s3_site: Site, proxy: FaultProxy) -> None:
    first, second = s3_site.segments(2)
    s3_site.push(first)
    s3_site.push(second)
    wait_for(lambda: s3_site.states()[0]["uploading_ahead"] == 0)
    third = s3_site.segments(1, "000000010000000000000007")[0]
    before = len(proxy.requests)
    assert s3_site.push(third).returncode == 0
    assert [request.method for request in proxy.requests[before:]] == ["PUT"]


def test_a_silent_storage_costs_no_more_than_the_deadline(s3_site: Site, proxy: FaultProxy) -> None:
    """Heartbeats go on while the storage hangs: the agent is not taken for hanging, and its error is the command's."""
    proxy.misbehave(Trouble.SILENT)
    (agent,) = s3_site.processes()
    begun = time.monotonic()
    result = s3_site.push(s3_site.segments(1)[0])
    assert result.returncode == 1
    assert time.monotonic() - begun < SECONDS
    assert "no answer in time" in result.stderr
    assert s3_site.processes() == [agent]
    proxy.heal()
    assert s3_site.push(s3_site.segments(1)[0]).returncode == 0


def test_a_silent_storage_stops_a_recovery(s3_site: Site, proxy: FaultProxy) -> None:
    name = s3_site.segments(1)[0]
    s3_site.push(name)
    proxy.misbehave(Trouble.SILENT)
    assert s3_site.run("wal-fetch", name, "pg_wal/RECOVERYXLOG").returncode == 200
    assert not (s3_site.data.wal / "RECOVERYXLOG").exists()
    proxy.heal()
    assert s3_site.run("wal-fetch", name, "pg_wal/RECOVERYXLOG").returncode == 0


def test_refused_credentials_are_tried_by_a_fresh_process(s3_site: Site, proxy: FaultProxy) -> None:
    """They may have been renewed since the agent read them. It ends; the command's own answer counts."""
    proxy.misbehave(Trouble.DENIES)
    result = s3_site.push(s3_site.segments(1)[0])
    assert result.returncode == 1
    assert "access denied" in result.stderr
    wait_for(lambda: s3_site.processes() == [])
    proxy.heal()
    assert s3_site.push(s3_site.segments(1)[0]).returncode == 0
