"""The primary storage dies at every request of wal-push and wal-fetch: nothing is lost, all is shown once."""

from collections.abc import Callable

import pytest

from tests.integration.failover.site import WAYS, Site, tried
from tests.unit.wal.synthetic import FIRST
from walpy.errors import ObjectMissing

SECOND = "000000010000000000000002"
PUSH = ("wal-push", f"pg_wal/{FIRST}")
FETCH = ("wal-fetch", FIRST, "pg_wal/RECOVERYXLOG")
NO_PREFETCH = {"WALG_DOWNLOAD_CONCURRENCY": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_the_primary_ends_at_each_request_of_wal_push(make_site: Callable[[], Site], how: str) -> None:
    counted = make_site()
    counted.data.add(FIRST)
    count = counted.requests_of(*PUSH)
    assert count > 3  # the check of a storage, whose archive it is, and the segment
    for number in tried(count, how):
        site = make_site()
        for name in (FIRST, SECOND):
            site.data.add(name)
        site.doom(number, how)
        site.must(*PUSH)
        site.must("wal-push", f"pg_wal/{SECOND}")
        site.revive()
        site.check_kept(FIRST, SECOND)
        site.must(*PUSH)  # whose acknowledgement was lost
        site.check_kept(FIRST, SECOND)
        site.bring_home()
        assert [len(site.holders(name)) for name in (FIRST, SECOND)] == [1, 1]
        site.check_fetched(FIRST, SECOND)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "hangs"])
@pytest.mark.parametrize("holder", ["primary", "second"])
def test_the_primary_ends_at_each_request_of_wal_fetch(make_site: Callable[[], Site], holder: str, how: str) -> None:
    site = make_site()
    site.data.add(FIRST)
    archive = site.primary if holder == "primary" else site.second
    archive.put_wal(FIRST, [(site.data.wal / FIRST).read_bytes()])
    count = site.requests_of(*FETCH, **NO_PREFETCH)
    assert count > 0
    for number in range(count):
        site.revive()
        site.doom(number, how)
        (site.data.wal / "RECOVERYXLOG").unlink(missing_ok=True)
        done = site.run(*FETCH, **NO_PREFETCH)
        assert done.returncode != ObjectMissing.exit_code, done.stderr
        if holder == "second":
            site.must(*FETCH, **NO_PREFETCH)
        elif site.server.is_dead or how == "hangs":
            again = site.run(*FETCH, **NO_PREFETCH)
            assert again.returncode not in (0, ObjectMissing.exit_code), again.stderr
        site.revive()
        site.check_fetched(FIRST)
