"""Requests of the Google Cloud Storage backend: the JSON API of one bucket, through google-auth's session.

The client library google-cloud-storage is left out: it cannot stream an upload of unknown length and send again what
the server lost; its objects start threads and requests of their own, with retries of their own; and importing it costs
more than all requests of a wal-push. Credentials, which are the hard part, are google-auth's.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import requests
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter

from walpy.errors import ObjectExists, ObjectMissing, StorageError, StorageUnavailable
from walpy.storage.base import Chunk
from walpy.storage.gcs_errors import BUCKET_HINT, FAILURES, explanation, origin, refusal, translate
from walpy.storage.retry import Deadline, RetryPolicy

T = TypeVar("T")

SEND_SIZE = 256 << 10  # bytes; a time-out while sending covers this much
POOL_SIZE = 64  # connections kept for threads that work at the same time

OBJECT_FIELDS = "name,size,updated,generation,crc32c,md5Hash,metadata"


class Body:
    """A request's body of known length, which can be sent again."""

    def __init__(self, *parts: Chunk) -> None:
        self._parts = [memoryview(part) for part in parts]

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            for start in range(0, len(part), SEND_SIZE):
                yield bytes(part[start : start + SEND_SIZE])


def session_for(credentials: Credentials | None) -> requests.Session:
    """A session that signs requests with credentials, if any, and repeats none (but one whose token has expired)."""
    authorized: Callable[[Credentials], requests.Session] = AuthorizedSession  # which has no types
    session = authorized(credentials) if credentials else requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=POOL_SIZE, max_retries=0))
    return session


class Bucket:
    """One bucket: sends requests, gives answers, translates errors; safe to use from several threads.

    endpoint: scheme and host. key_headers: those of a customer-supplied encryption key, or none.
    """

    def __init__(
        self,
        session: requests.Session,
        endpoint: str,
        name: str,
        policy: RetryPolicy,
        key_headers: Mapping[str, str],
    ) -> None:
        self.name = name
        self.policy = policy
        self.key_headers = key_headers
        self.api_url = f"{endpoint}/storage/v1"
        self.objects_url = f"{self.api_url}/b/{quote(name, safe='')}/o"
        self.upload_url = f"{endpoint}/upload/storage/v1/b/{quote(name, safe='')}/o"
        self._session = session

    def object_url(self, key: str) -> str:
        """Address of an object, by its key in the bucket."""
        return f"{self.objects_url}/{quote(key, safe='')}"

    def shown(self, key: str) -> str:
        """An object, or the bucket, for messages."""
        return f"gs://{self.name}/{key}"

    def repeat(self, attempt: Callable[[Deadline], T], what: str) -> T:
        """Result of attempt, which is repeated while it raises transient errors and there is time."""
        deadline = self.policy.start()
        return self.policy.call(lambda: attempt(deadline), what=what, deadline=deadline)

    def request(
        self,
        method: str,
        url: str,
        *,
        what: str,
        accept: Collection[int] = (HTTPStatus.OK,),
        deadline: Deadline | None = None,
        timeout: float | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes = b"",
        stream: bool = False,
    ) -> requests.Response:
        """One attempt of one request; gives the response when its status is among accept.

        deadline: shortens the time-outs. timeout: one in place of the configured ones, in seconds. stream: leave the
        response's body unread. Raises what translate() makes of anything else.
        """
        try:
            response = self._session.request(
                method,
                url,
                params=params,
                headers={"Accept-Encoding": "gzip", **(headers or {})},
                data=body,
                timeout=(timeout, timeout) if timeout else self._timeouts(deadline),
                allow_redirects=False,  # an unfinished upload answers 308
                stream=stream,
            )
            if response.status_code not in accept:
                with response:
                    raise refusal(response)
        except FAILURES as error:
            raise translate(error, what) from origin(error)
        return response

    def document(self, response: requests.Response, what: str) -> dict[str, object]:
        """The JSON object in a response. Raises StorageUnavailable when it is none (a proxy's page, a cut body)."""
        try:
            found = response.json()
        except FAILURES as error:
            raise translate(error, what) from error
        if not isinstance(found, dict):
            raise StorageUnavailable("the server's answer is not a JSON object")
        return found

    def metadata(self, key: str, name: str, deadline: Deadline | None = None) -> dict[str, object]:
        """One object's OBJECT_FIELDS. Raises ObjectMissing."""
        what = f"look-up of {self.shown(key)!r}"
        response = self.request(
            "GET",
            self.object_url(key),
            what=what,
            accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND),
            deadline=deadline,
            params={"fields": OBJECT_FIELDS},
            headers=self.key_headers,
        )
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise self.missing(name, response, deadline)
        return self.document(response, what)

    def missing(self, name: str, response: requests.Response, deadline: Deadline | None = None) -> ObjectMissing:
        """The error for an object that a 404 response is about.

        Raises StorageError instead when the bucket is what is missing: a 404 that does not name the object proves
        nothing, so the bucket is asked; StorageUnavailable when the response's body cannot be read.
        """
        try:
            said = explanation(response)
        except FAILURES as error:
            raise translate(error, f"look-up of {name!r}") from origin(error)
        if "no such object" not in said.message.lower():
            self.page({"maxResults": "1"}, deadline)
        return ObjectMissing(f"object {name!r} does not exist in bucket {self.name!r}")

    def delete(self, key: str, name: str, deadline: Deadline, *, generation: str = "") -> None:
        """Delete one object (only that generation, when one is given); a missing one is ignored."""
        response = self.request(
            "DELETE",
            self.object_url(key),
            what=f"deletion of {self.shown(key)!r}",
            accept=(HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND),
            deadline=deadline,
            params={"generation": generation} if generation else None,
        )
        if response.status_code == HTTPStatus.NOT_FOUND:
            self.missing(name, response, deadline)  # raises when it is the bucket

    def is_beside(self, other: "Bucket") -> bool:
        """Whether the server can copy from another bucket, as far as addresses and customers' keys tell."""
        return self.api_url == other.api_url and not (self.key_headers or other.key_headers)

    def rewrite(self, key: str, source: "Bucket", source_key: str, deadline: Deadline) -> bool:
        """Have the server copy an object, create-only, in as many steps as it wants; True.

        Raises ObjectExists when another object has the name: one of the same checksum is the copy that was not
        answered. Raises ObjectMissing, AccessDenied when the source cannot be read.
        """
        what = f"copy of {source.shown(source_key)!r} to {self.shown(key)!r}"
        target = self.object_url(key).removeprefix(self.api_url)
        params = {"ifGenerationMatch": "0"}
        while True:
            response = self.request(
                "POST",
                f"{source.object_url(source_key)}/rewriteTo{target}",
                what=what,
                accept=(HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND),
                deadline=deadline,
                params=params,
            )
            if response.status_code == HTTPStatus.NOT_FOUND:
                raise source.missing(source_key, response, deadline)
            if response.status_code == HTTPStatus.PRECONDITION_FAILED:
                copied, there = source.metadata(source_key, source_key, deadline), self.metadata(key, key, deadline)
                if copied.get("crc32c") == there.get("crc32c") and copied.get("size") == there.get("size"):
                    return True
                raise ObjectExists(f"object {self.shown(key)!r} exists already")
            answer = self.document(response, what)
            if answer.get("done"):
                return True
            params["rewriteToken"] = str(answer["rewriteToken"])

    def page(self, params: Mapping[str, str], deadline: Deadline | None = None) -> dict[str, object]:
        """One page of a listing. Raises StorageError when the bucket does not exist."""
        what = f"listing of {self.shown('')!r}"
        response = self.request(
            "GET",
            self.objects_url,
            what=what,
            accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND),
            deadline=deadline,
            params=params,
        )
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise StorageError(f"bucket {self.name!r} does not exist", BUCKET_HINT) from refusal(response)
        return self.document(response, what)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _timeouts(self, deadline: Deadline | None) -> tuple[float, float]:
        policy = self.policy
        if not policy.deadline:  # one attempt, as long as it takes
            return policy.connect_timeout, policy.read_timeout
        if deadline is None:
            return min(policy.connect_timeout, policy.deadline), min(policy.read_timeout, policy.deadline)
        return deadline.within(policy.connect_timeout), deadline.within(policy.read_timeout)
