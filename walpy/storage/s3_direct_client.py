"""Signed requests to one S3 server over connections that are used again, without the SDK. Nothing is repeated."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from walpy import __version__
from walpy.storage.s3_sign import EMPTY_HASH, Signer
from walpy.storage.s3_wire import Answer, Connection, WireError

if TYPE_CHECKING:
    from walpy.storage.retry import RetryPolicy
    from walpy.storage.s3_place import Place
    from walpy.storage.s3_settings import Credentials

IDLE_SECONDS = 3.0  # how long a connection is kept for the next request; servers close them after five and more
SHARE_OF_DEADLINE = 10  # the direct way gives up after this part of the deadline, which begins anew for the SDK

logger = logging.getLogger(__name__)


class DirectClient:
    """Makes requests and keeps connections; safe for threads. Its methods raise WireError."""

    def __init__(self, place: "Place", keys: "Credentials", policy: "RetryPolicy") -> None:
        self._place = place
        limit = policy.deadline / SHARE_OF_DEADLINE or policy.read_timeout
        self._timeouts = min(policy.connect_timeout, limit), min(policy.read_timeout, limit)
        self._signer = Signer(keys.access_key, keys.secret_key, keys.session_token, place.region)
        self._idle: list[tuple[float, Connection]] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: memoryview | None = None,
        body_hash: str = EMPTY_HASH,
        cancel: threading.Event | None = None,
    ) -> tuple[Connection, Answer]:
        """Make a request; the answer without its body, and the connection to read that from and then to release.

        cancel: ends the sending of the body when it is set.
        """
        unsigned = {"host": self._place.host, "user-agent": f"walpy/{__version__}", **(headers or {})}
        connection = self._take_idle() or Connection(self._place.address, *self._timeouts)
        try:
            signed = self._signer.headers(method, target, unsigned, body_hash)
            return connection, connection.request(method, target, signed, body or b"", cancel)
        except BaseException:
            connection.close()
            raise

    def finish(self, connection: Connection, answer: Answer) -> bytes:
        """The body of a small answer; the connection is free again."""
        try:
            return connection.read_all(answer)
        finally:
            self.release(connection)

    def release(self, connection: Connection) -> None:
        """Keep a connection for the next request, if its last answer was read to the end."""
        with self._lock:
            if connection.is_idle and not self._is_closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def connect_ahead(self) -> threading.Thread | None:
        """Begin to make a connection with TLS, which takes as long as compressing a segment does; None: needless."""
        if not self._place.address.is_tls or self._idle:
            return None
        thread = threading.Thread(target=self._connect_idle, name="s3-connect", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Close the connections, those that are still in use as soon as they are released."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _connect_idle(self) -> None:
        try:
            self.release(Connection(self._place.address, *self._timeouts))
        except WireError as error:
            logger.debug("connecting ahead: %s", error)  # the request will meet it again

    def _take_idle(self) -> Connection | None:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE_SECONDS:
                    return connection
                connection.close()
        return None
