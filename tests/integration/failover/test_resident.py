"""The primary storage dies under what stays resident, the agent and `walpy daemon`, at every request of a push."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.agent.agents import wait_for
from tests.integration.agent.test_daemon import Daemon
from tests.integration.failover.site import EVERY, TRIES, WAYS, Site, tried
from tests.unit.wal.synthetic import FIRST
from walpy.wal.segment import MIB, following_segment

LIFETIME = 3.0  # seconds in which a resident process relies on what it knows of a storage
NEW_LOOK = {"WALG_FAILOVER_STORAGES_CACHE_LIFETIME": f"{LIFETIME:g}s", "WALG_UPLOAD_CONCURRENCY": "1"}
MOST_POINTS = 8  # as many requests as a push makes with a check of the storages before it


def segments() -> Iterator[str]:
    """Names of segments, one after the other."""
    name = FIRST
    while True:
        yield name
        name = following_segment(name, MIB)


def push_until_it_is_done(push: Callable[[str], bool], name: str) -> None:
    """As PostgreSQL's archiver."""
    assert any(push(name) for _ in range(TRIES)), f"{name} was not archived by {TRIES} tries"


def die_at_each_request(site: Site, push: Callable[[str], bool], how: str) -> None:
    """Push segments, while the primary ends at a request of each; all are kept."""
    names = segments()
    pushed = []
    for number in tried(MOST_POINTS, how):
        name = next(names)
        site.data.add(name)
        site.server.start(number, hangs=how == "hangs", carries_out=how == "dies after it")
        push_until_it_is_done(push, name)
        pushed.append(name)
        if not site.server.is_dead and how != "hangs":
            break  # it makes no more requests
        site.server.start()
        time.sleep(LIFETIME)
    site.revive()
    assert len(pushed) > (3 if EVERY else 1)
    site.check_kept(*pushed)
    site.bring_home()
    site.check_fetched(*pushed[-2:])


@pytest.fixture
def resident(site: Site) -> Site:
    """A site that is soon out of patience: its settings stay while its processes do."""
    site.patience = 3
    return site


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_the_primary_ends_at_each_request_of_the_agent(resident: Site, how: str) -> None:
    settings = {"WALPY_AGENT": "auto", **NEW_LOOK}
    resident.run("wal-fetch", "0000000100000000000000FF", "pg_wal/RECOVERYXLOG", **settings)
    wait_for(lambda: bool(resident.agents()))
    die_at_each_request(
        resident, lambda name: resident.run("wal-push", f"pg_wal/{name}", **settings).returncode == 0, how
    )
    assert resident.agents()


@contextmanager
def serving(site: Site) -> Iterator[Daemon]:
    """A daemon of the site."""
    daemon = Daemon(_AsAgentSite(site))  # type: ignore[arg-type]
    try:
        wait_for(lambda: "serving at" in daemon.log.read_text())
        yield daemon
    finally:
        daemon.end()


class _AsAgentSite:
    """What a Daemon wants to know of a site."""

    def __init__(self, site: Site) -> None:
        self.data = site.data
        self.runtime = site.runtime
        self.environment = {**os.environ, **site.environment(**NEW_LOOK)}


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_the_primary_ends_at_each_request_of_the_daemon(resident: Site, how: str) -> None:
    with serving(resident) as daemon:
        die_at_each_request(resident, lambda name: daemon.push(name) == b"O", how)
        assert daemon.process.poll() is None
