"""The rate limits of one command, which hold for all its processes together."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.archive import Archive, open_archive
from walpy.pipeline import shared_number
from walpy.storage.limit import RateLimiter, limited

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.limit import SharedMoment

DISK_LIMIT, NETWORK_LIMIT = "WALG_DISK_RATE_LIMIT", "WALG_NETWORK_RATE_LIMIT"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """State of the command's rate limits, shared by all its processes; None where there is no limit."""

    disk: "SharedMoment | None"
    network: "SharedMoment | None"

    @classmethod
    def from_config(cls, config: "Config") -> "RateLimits":
        """State for the limits that are set."""
        return cls(shared_limit(config, DISK_LIMIT), shared_limit(config, NETWORK_LIMIT))


def shared_limit(config: "Config", key: str) -> "SharedMoment | None":
    """State of one limit, for the initializers of worker processes; None when it is not set."""
    return shared_number() if config.integer(key) > 0 else None


class MeasuredSleep:
    """Sleeps for a limiter, and knows how long in all; for one thread. seconds: all of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
        self.seconds += seconds


def open_limited_archive(
    config: "Config", network: "SharedMoment | None" = None, sleep: MeasuredSleep | None = None
) -> Archive:
    """Open the archive with the network rate limit of the configuration.

    network: the limit's state, if shared. sleep: measures how long the limit is waited for.
    """
    archive = open_archive(config)
    limiter = RateLimiter.from_config(config, NETWORK_LIMIT, network, sleep=sleep or time.sleep)
    archive.storage = limited(archive.storage, limiter)
    return archive
