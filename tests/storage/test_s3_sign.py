"""Signatures, compared with the SDK's for the same request at the same moment, and with Amazon's own example."""

from datetime import UTC, datetime
from hashlib import sha256
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.storage.contract import AWKWARD_NAMES
from walpy.storage.s3_sign import Signer, target_of

MOMENT = datetime(2026, 5, 1, 10, 20, 30, tzinfo=UTC)


def sdk_signature(method: str, target: str, headers: dict[str, str], body: bytes, token: str) -> str:
    request = AWSRequest(method, f"https://bucket.s3.example.com{target}", headers, body)
    request.context["payload_signing_enabled"] = True
    with mock.patch("botocore.auth.get_current_datetime", return_value=MOMENT.replace(tzinfo=None)):
        S3SigV4Auth(Credentials("KEY", "SECRET", token or None), "s3", "eu-central-1").add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("token", ["", "session/token=="])
@pytest.mark.parametrize("name", [*AWKWARD_NAMES, "wal_005/000000010000000000000001.lz4", "dots/../.. "])
def test_objects(name: str, token: str) -> None:
    body = b"content of the object"
    headers = {"host": "bucket.s3.example.com", "x-amz-meta-walpy-put": "a  b ", "if-none-match": "*"}
    target = target_of(f"/{name}")
    signed = Signer("KEY", "SECRET", token, "eu-central-1").headers(
        "PUT", target, headers, sha256(body).hexdigest(), MOMENT.timestamp()
    )
    assert signed["authorization"] == sdk_signature("PUT", target, headers, body, token)


@pytest.mark.parametrize("prefix", ["", "wal_005/0000", "a b&c=d+e/ü~'"])
def test_listings(prefix: str) -> None:
    target = target_of("/", {"prefix": prefix, "list-type": "2"})
    headers = {"host": "bucket.s3.example.com"}
    signed = Signer("KEY", "SECRET", "", "eu-central-1").headers("GET", target, headers, now=MOMENT.timestamp())
    assert signed["authorization"] == sdk_signature("GET", target, headers, b"", "")


def test_amazon_s_example() -> None:
    """Source: Amazon S3 API reference, "Signature calculations, authorization header", GET Object."""
    signer = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", "us-east-1")
    headers = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9"}
    now = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
    signed = signer.headers("GET", "/test.txt", headers, now=now)
    assert signed["authorization"].endswith("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    assert "wJalr" not in repr(signer)
    assert "AKIA" not in repr(signer)
