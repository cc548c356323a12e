"""Sites whose agents end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.agent.agents import Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site; settings are environment variables."""
    made: list[Site] = []

    def make(name: str = "s", **settings: str) -> Site:
        base = tmp_path / name
        base.mkdir()
        made.append(Site(base, **settings))
        return made[-1]

    yield make
    for site in made:
        site.end()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A site on a folder."""
    return make_site()
