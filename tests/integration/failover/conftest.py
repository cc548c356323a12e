"""Sites with a primary storage that dies."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.mortal_server import MortalServer
from tests.fixtures.s3_server import S3Server, settings
from tests.integration.failover.site import Site
from walpy.archive import open_archive


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """The server behind all primaries."""
    with S3Server() as server:
        archive = open_archive(settings(server.url, server.new_bucket()))
        archive.put_bytes("warm-up", b"-")  # it loads most of itself with its first requests
        list(archive.storage.list())
        yield server


@pytest.fixture
def make_site(s3: S3Server, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    """Makes a site with a primary of its own, which lives."""
    with ExitStack() as stack:
        made: list[Site] = []

        def make() -> Site:
            base = tmp_path / f"site-{len(made)}"
            base.mkdir()
            made.append(Site(base, s3, stack.enter_context(MortalServer(s3.url))))
            stack.callback(made[-1].end)
            return made[-1]

        yield make


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    """One site."""
    return make_site()
