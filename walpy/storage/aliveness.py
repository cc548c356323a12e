"""Whether a storage is taken for alive, by what its operations and checks have told: the arithmetic, as WAL-G does it.

potential is a moving average of what operations could have earned, actual of what they did; their quotient decides.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

from walpy.errors import ConfigError

if TYPE_CHECKING:
    from walpy.config import Config

_MIB = 1 << 20

# What operations weigh, in WAL-G's units.
EXISTS_WEIGHT = 1000.0
LIST_WEIGHT = 2000.0
_TRANSFER_WEIGHT = 1000.0
_DELETE_WEIGHT = 500.0


def transfer_weight(size: int) -> float:
    """Weight of reading or storing an object of so many bytes."""
    return _TRANSFER_WEIGHT * max(1.0, 1 + math.log10(size / _MIB) if size else 0.0)


def delete_weight(count: int) -> float:
    """Weight of deleting so many objects."""
    return _DELETE_WEIGHT * max(1.0, 1 + math.log10(count) if count else 0.0)


class Range(NamedTuple):
    """Bounds of the share that one operation has in an average."""

    least: float
    most: float


class Limits(NamedTuple):
    """When a dead storage revives and a living one dies, by actual / potential; and how fast averages move."""

    alive: float = 0.99
    dead: float = 0.88
    when_alive: Range = Range(0.01, 0.05)
    when_dead: Range = Range(0.1, 0.5)

    @classmethod
    def from_config(cls, config: "Config") -> "Limits":
        """Limits that a configuration asks for. Raises ConfigError, as WAL-G, for values that make no sense."""
        limits = cls(
            _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_ALIVE_LIMIT"),
            _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_DEAD_LIMIT"),
            Range(
                _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MIN"),
                _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MAX"),
            ),
            Range(
                _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MIN"),
                _fraction(config, "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MAX"),
            ),
        )
        if limits.alive < limits.dead:
            raise ConfigError("invalid EMA params: the alive limit is below the dead limit")
        if limits.when_alive.least > limits.when_alive.most or limits.when_dead.least > limits.when_dead.most:
            raise ConfigError("invalid EMA params: a minimum alpha is above its maximum")
        return limits


def _fraction(config: "Config", key: str) -> float:
    try:
        value = float(config.text(key))
    except ValueError:
        raise config.invalid(key, "expected a number") from None
    if not 0 < value < 1:
        raise config.invalid(key, "invalid EMA params: expected a number between 0 and 1, without them")
    return value


class Status(NamedTuple):
    """What is known of one storage. updated_ns: when, UTC, nanoseconds since the epoch; 0: nothing is known."""

    potential: float = 0.0
    actual: float = 0.0
    was_alive: bool = False
    updated_ns: int = 0

    def is_alive(self, limits: Limits) -> bool:
        """Whether it counts as alive: who is alive dies late, who is dead revives late."""
        return self._factor(limits) >= (limits.dead if self.was_alive else limits.alive)

    def is_fresh(self, now_ns: int, lifetime_seconds: float) -> bool:
        """Whether it is recent enough to be relied on. One from the future is not: the clock was set back."""
        return 0 <= now_ns - self.updated_ns <= lifetime_seconds * 1e9

    def after_check(self, is_alive: bool, now_ns: int) -> "Status":
        """What a check makes of it: all or nothing."""
        return Status(self.potential, self.potential if is_alive else 0.0, is_alive, now_ns)

    def after_operation(self, limits: Limits, is_success: bool, weight: float, now_ns: int) -> "Status":
        """What one operation makes of it."""
        share = self._share(limits)
        return Status(
            _moved(self.potential, weight, share),
            _moved(self.actual, weight if is_success else 0.0, share),
            self.is_alive(limits),
            now_ns,
        )

    def _factor(self, limits: Limits) -> float:
        return self.actual / self.potential if self.potential else limits.dead

    def _share(self, limits: Limits) -> float:
        """Share of an operation: the largest where the storage is about to change sides."""
        if self.is_alive(limits):
            bounds, distance = limits.when_alive, (self._factor(limits) - limits.dead) / (1 - limits.dead)
        else:
            bounds, distance = limits.when_dead, self._factor(limits) / limits.alive
        return bounds.most + (bounds.least - bounds.most) * distance


def _moved(average: float, value: float, share: float) -> float:
    return value * share + average * (1 - share)
