"""The requests of an upload in parts, made by the SDK."""

from collections.abc import Callable, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from walpy.storage.base import PUT_TOKEN
from walpy.storage.parts import Cancelled, Part, PartBody
from walpy.storage.s3_client import shorter
from walpy.storage.s3_errors import code_of

if TYPE_CHECKING:
    from walpy.storage.s3_commit import Commit
    from walpy.storage.s3_settings import Writing

# Sends a part by a request that takes its checksum's parameters: Uploader.send.
Send = Callable[[Part, Callable[[dict[str, str]], Any]], Any]


class SdkPartRequests:
    """PartRequests of one object; commit makes it visible."""

    def __init__(self, commit: "Commit", writing: "Writing", send: Send) -> None:
        self._commit = commit
        self._writing = writing
        self._send = send
        self._bucket = commit.bucket
        self._key = commit.key
        self._client: Any = commit.bucket.client
        self._target = {"Bucket": commit.bucket.name, "Key": commit.key}

    @property
    def url(self) -> str:
        """The object, for messages."""
        return self._bucket.url(self._key)

    def begin(self) -> str:
        """Begin an upload; its id."""
        parameters = {**self._writing.object_parameters(), "Metadata": {PUT_TOKEN: self._commit.token}}
        answer = self._bucket.call(
            "put", self._key, lambda: self._client.create_multipart_upload(**self._target, **parameters)
        )
        return str(answer["UploadId"])

    def store(self, upload_id: str, part: Part, cancel: Event) -> str:
        """Store a part; its ETag. Raises Cancelled once cancel is set."""

        def request(checksum: dict[str, str]) -> Any:
            if cancel.is_set():
                raise Cancelled("the upload was cancelled")
            return self._client.upload_part(
                **self._target,
                UploadId=upload_id,
                PartNumber=part.number,
                Body=PartBody(part, cancel),
                **checksum,
                **self._writing.key_parameters(),
            )

        answer = self._bucket.call("put", self._key, lambda: self._send(part, request), cancel=cancel)
        return str(answer["ETag"])

    def complete(self, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object visible; see s3_commit."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]

        def request(precondition: dict[str, str]) -> None:
            self._client.complete_multipart_upload(
                **self._target, UploadId=upload_id, MultipartUpload={"Parts": parts}, **precondition
            )

        self._bucket.call("put", self._key, lambda: self._commit.attempt(request))

    def abort(self, upload_id: str, seconds: float) -> None:
        """Remove the upload."""

        def request() -> None:
            try:
                self._client.abort_multipart_upload(**self._target, UploadId=upload_id)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

        self._bucket.call("abort the upload of", self._key, request, policy=shorter(self._bucket.policy, seconds))
