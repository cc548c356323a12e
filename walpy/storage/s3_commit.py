"""The request that makes an object visible, and whether it may: create-only puts.

They rest on `If-None-Match: *`. An answer can get lost: the repeated request then meets the object that the first one
stored. A random token in the metadata tells whose object it is (an ETag would not: it depends on the encryption).
"""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from walpy.errors import ObjectExists, StorageError
from walpy.storage.base import PUT_TOKEN
from walpy.storage.s3_errors import SDK_ERRORS, code_of, status_of

if TYPE_CHECKING:
    from walpy.storage.s3_client import Bucket

# What look-alikes answer that do not know If-None-Match on writes.
UNKNOWN_HEADER_CODES = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "BadRequest", "400", "501"})

logger = logging.getLogger(__name__)


class Preconditions:
    """Whether the server of a bucket knows them; one for all puts of a storage."""

    def __init__(self) -> None:
        self.known = True

    def forget(self, url: str) -> None:
        """Do without them from now on, and say so once."""
        if self.known:
            self.known = False
            logger.warning(
                "the server of %s does not know If-None-Match: walpy looks before it writes, and two writers at the"
                " same moment could overwrite each other's object",
                url,
            )


class Commit:
    """Makes one object visible, in as many attempts as it takes; token is to be stored in its metadata.

    key_parameters: the customer's key, when objects are encrypted with one. earlier_token: of an attempt that was made
    elsewhere, and whose answer got lost.
    """

    def __init__(
        self,
        bucket: "Bucket",
        key: str,
        *,
        create_only: bool,
        preconditions: Preconditions,
        key_parameters: dict[str, str],
        earlier_token: str = "",
    ) -> None:
        self.bucket = bucket
        self.key = key
        self.create_only = create_only
        self.token = earlier_token or os.urandom(16).hex()
        self._url = bucket.url(key)
        self._preconditions = preconditions
        self._key_parameters = key_parameters
        self._was_tried = bool(earlier_token)  # an earlier attempt may have stored the object, and its answer got lost

    def attempt(self, request: Callable[[dict[str, str]], object]) -> None:
        """Make one attempt; request takes the parameters of the precondition.

        Raises ObjectExists when another object has the name, and what request raises otherwise.
        """
        guarded = self.create_only and self._preconditions.known
        if self.create_only and not guarded:
            self.look_first()
        try:
            request({"IfNoneMatch": "*"} if guarded else {})
        except ClientError as error:
            self._settle(error, request, guarded)
        except SDK_ERRORS:
            self._was_tried = True
            raise

    def _settle(self, error: ClientError, request: Callable[[dict[str, str]], object], guarded: bool) -> None:
        code = code_of(error)
        if status_of(error) == 412 or code == "PreconditionFailed":
            if not self._is_ours():
                raise self._exists() from error
        elif code == "NoSuchUpload" and self._was_tried:
            self._settle_vanished(error)
        elif guarded and (code in UNKNOWN_HEADER_CODES or status_of(error) == 501):
            self.look_first()
            self._was_tried = True
            request({})
            self._preconditions.forget(self.bucket.url())
        else:
            self._was_tried = True
            raise error

    def _settle_vanished(self, error: ClientError) -> None:
        stored = self._stored_token()
        if stored == self.token:
            return
        if stored is not None and self.create_only:
            raise self._exists() from error
        raise StorageError(f"cannot put {self._url!r}: the server has lost the upload") from error

    def _is_ours(self) -> bool:
        return self._was_tried and self._stored_token() == self.token

    def look_first(self) -> None:
        """Raise ObjectExists when another object has the name, for requests whose precondition servers ignore."""
        stored = self._stored_token()
        if stored is not None and not (self._was_tried and stored == self.token):
            raise self._exists()

    def _exists(self) -> ObjectExists:
        return ObjectExists(f"object {self._url!r} exists already")

    def _stored_token(self) -> str | None:
        """Token of the object that is there, empty when it has none; None when no object is there."""
        client: Any = self.bucket.client
        try:
            answer = client.head_object(Bucket=self.bucket.name, Key=self.key, **self._key_parameters)
        except ClientError as error:
            if status_of(error) == 404:
                return None
            raise
        return str(answer.get("Metadata", {}).get(PUT_TOKEN, ""))
