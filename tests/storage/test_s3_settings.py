"""S3 settings in all their forms: prefixes, endpoints, regions, credentials, encryption."""

import logging
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import moto.sts.models
import pytest

from tests.fixtures.s3_server import ACCESS_KEY, PART_SIZE, S3Server, Twist, open_s3, settings
from tests.storage.contract import content, names, read
from walpy.config import Config
from walpy.errors import AccessDenied, ConfigError, StorageError
from walpy.storage.s3 import from_config
from walpy.storage.s3_client import detect_region
from walpy.storage.s3_settings import Endpoint, parse_prefix, read_settings

ROLE = "arn:aws:iam::123456789012:role/archiver"
SSE_C = "0123456789abcdef0123456789abcde+"


@pytest.fixture(autouse=True)
def _no_credentials_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the SDK's default chain from whatever this machine has."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


class Noted(BaseException):
    """Ends a request before it is sent: no Exception, so that nobody takes it for a failure."""


def url_of_a_put(**values: str) -> str:
    """Where a put of `a` goes; no request is made."""

    def note(request: Any, **_: object) -> None:
        raise Noted(request.url)

    base = {"WALG_S3_PREFIX": "s3://my-bucket/x", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    storage = from_config(Config.from_mapping({"AWS_REGION": "eu-west-1", **base, **values}))
    storage._client.meta.events.register("before-send.s3", note)
    with pytest.raises(Noted) as caught:
        storage.put("a", [b"x"])
    storage.close()
    return str(caught.value)


# prefix


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("s3://b", ("b", "")),
        ("s3://b/", ("b", "")),
        ("s3://b/x/", ("b", "x")),
        ("s3://b//x//y//", ("b", "x/y")),
        ("s3://b/x/./y", ("b", "x/y")),
        ("s3://b/with%20space/%2B", ("b", "with space/+")),
        ("whatever://My.Bucket/x", ("My.Bucket", "x")),
    ],
)
def test_prefix(prefix: str, expected: tuple[str, str]) -> None:
    assert parse_prefix(prefix) == expected


@pytest.mark.parametrize("prefix", ["b/x", "/b/x", "s3:///x", "s3://b/../x"])
def test_wrong_prefixes(prefix: str) -> None:
    with pytest.raises(ConfigError, match="S3 prefix"):
        parse_prefix(prefix)


@pytest.mark.parametrize(
    ("path", "storage_prefix", "key"),
    [
        ("", "", "wal_005/a"),
        ("/", "", "wal_005/a"),
        ("/x//y/", "", "x/y/wal_005/a"),
        ("/x", "c1", "x/c1/wal_005/a"),
        ("", "/c1/", "c1/wal_005/a"),
    ],
)
def test_keys(server: S3Server, bucket: str, path: str, storage_prefix: str, key: str) -> None:
    more = {"WALG_S3_PREFIX": "", "WALE_S3_PREFIX": f"s3://{bucket}{path}", "WALG_STORAGE_PREFIX": storage_prefix}
    with open_s3(server.url, bucket, **more) as storage:
        storage.put("wal_005/a", [b"x"])
        assert server.requests[0].path == f"/{bucket}/{key}"
        assert names(storage) == names(storage, "wal_005") == ["wal_005/a"]
        assert storage.url == f"s3://{bucket}/{key.removesuffix('wal_005/a').rstrip('/')}"


# endpoint and region


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "https://my-bucket.s3.eu-west-1.amazonaws.com/x/a"),
        ({"AWS_S3_FORCE_PATH_STYLE": "true"}, "https://s3.eu-west-1.amazonaws.com/my-bucket/x/a"),
        ({"AWS_DUAL_STACK": "true"}, "https://my-bucket.s3.dualstack.eu-west-1.amazonaws.com/x/a"),
        ({"AWS_ENDPOINT": "s3.example.org:9000"}, "https://my-bucket.s3.example.org:9000/x/a"),
        ({"AWS_ENDPOINT": "http://s3.example.org/"}, "http://my-bucket.s3.example.org/x/a"),
        (
            {"WALG_AWS_ENDPOINT": "https://s3.example.org", "AWS_S3_FORCE_PATH_STYLE": "1"},
            "https://s3.example.org/my-bucket/x/a",
        ),
        ({"AWS_ENDPOINT": "https://s3.example.org", "AWS_DUAL_STACK": "1"}, "https://my-bucket.s3.example.org/x/a"),
    ],
)
def test_urls(values: dict[str, str], url: str) -> None:
    assert url_of_a_put(**values) == url


def signed_region(server: S3Server) -> str:
    """Region in the signature of the last request."""
    return server.requests[-1].headers["authorization"].split("/")[2]


@pytest.mark.parametrize(("region", "expected"), [("eu-central-1", "eu-central-1"), ("", "us-east-1")])
def test_region_of_a_look_alike(server: S3Server, bucket: str, region: str, expected: str) -> None:
    with open_s3(server.url, bucket, AWS_REGION=region, AWS_DEFAULT_REGION="ap-south-1") as storage:
        storage.put("a", [b"x"])
    assert signed_region(server) == expected
    assert [item.method for item in server.requests] == ["PUT"]


def test_region_of_an_aws_bucket_is_found_out(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "is_aws", True)
    with open_s3(server.url, bucket, AWS_REGION="") as storage:
        assert signed_region(server) == "us-east-1"
        storage.put("a", [b"x"])
    assert [item.operation for item in server.requests] == ["GET ?location", "PUT"]
    assert signed_region(server) == "eu-central-1"


def test_region_without_the_permission_to_ask_for_it(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket) as storage:
        server.twist(Twist("GET ?location", status=403, code="AccessDenied"))
        assert detect_region(storage._bucket) == "eu-central-1"
        server.twist(Twist("GET ?location", status=403, code="AccessDenied"), Twist("HEAD", status=403))
        with pytest.raises(AccessDenied, match="AWS region isn't configured explicitly") as caught:
            detect_region(storage._bucket)
        assert "AWS_REGION" in caught.value.hint


@pytest.mark.parametrize(("answered", "region"), [(None, "us-east-1"), ("EU", "eu-west-1"), ("x-1", "x-1")])
def test_names_of_regions(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, answered: str | None, region: str
) -> None:
    with open_s3(server.url, bucket) as storage:
        monkeypatch.setattr(
            storage._client, "get_bucket_location", lambda **_: {"LocationConstraint": answered}, raising=False
        )
        assert detect_region(storage._bucket) == region


@pytest.mark.parametrize("url", ["", "https://s3.eu-west-1.amazonaws.com"])
def test_amazon_is_recognised(url: str) -> None:
    assert Endpoint(url).is_aws
    assert not Endpoint("https://amazonaws.com.example.org").is_aws


def test_validation_lists_the_bucket(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, S3_SKIP_VALIDATION="false"):
        assert len(server.requests) == 1
    with pytest.raises(StorageError, match="NoSuchBucket"), open_s3(server.url, "gone", S3_SKIP_VALIDATION="false"):
        pass
    with open_s3(server.url, "gone"):
        pass


# wrong settings


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"S3_MAX_PART_SIZE": "5242879"}, "S3_MAX_PART_SIZE"),
        ({"S3_MAX_PART_SIZE": "5368709121"}, "S3_MAX_PART_SIZE"),
        ({"S3_MAX_PART_SIZE": "20MB"}, "S3_MAX_PART_SIZE"),
        ({"UPLOAD_CONCURRENCY": "0"}, "UPLOAD_CONCURRENCY"),
        ({"AWS_S3_FORCE_PATH_STYLE": "yes"}, "AWS_S3_FORCE_PATH_STYLE"),
        ({"S3_SSE": "DES"}, "S3_SSE"),
        ({"S3_SSE": "aws:kms"}, "S3_SSE_KMS_ID"),
        ({"S3_SSE_KMS_ID": "id"}, "S3_SSE_KMS_ID"),
        ({"S3_SSE": "AES256", "S3_SSE_KMS_ID": "id"}, "S3_SSE_KMS_ID"),
        ({"S3_SSE": "AES256", "S3_SSE_C": "short"}, "32 characters"),
        ({"S3_SSE": "aws:kms", "S3_SSE_KMS_ID": "id", "S3_SSE_C": SSE_C}, "S3_SSE_C"),
        ({"S3_SSE": "AES256", "S3_SSE_C": SSE_C}, "cannot send SSE keys over HTTP"),
        ({"S3_ENABLE_VERSIONING": "yes"}, "S3_ENABLE_VERSIONING"),
        ({"S3_CA_CERT_FILE": "/no/such/file"}, "S3_CA_CERT_FILE"),
        ({"WALG_S3_CA_CERT_FILE": __file__}, "WALG_S3_CA_CERT_FILE"),
        ({"S3_REQUEST_ADDITIONAL_HEADERS": "[:"}, "S3_REQUEST_ADDITIONAL_HEADERS"),
        ({"S3_REQUEST_ADDITIONAL_HEADERS": "X: 1"}, "S3_REQUEST_ADDITIONAL_HEADERS"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID is not"),
        ({"AWS_ENDPOINT": "https://me:secret@host"}, "AWS_ENDPOINT"),
    ],
)
def test_wrong_settings(values: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read_settings(settings("http://127.0.0.1:1", **values))
    assert "secret" not in str(caught.value)
    assert SSE_C not in str(caught.value)


def test_a_missing_profile_is_a_wrong_setting() -> None:
    values = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "gone"}
    with pytest.raises(ConfigError, match="do not fit"):
        from_config(settings("http://127.0.0.1:1", **values))


@pytest.mark.parametrize(("values", "parts"), [({}, 4), ({"WALG_UPLOAD_CONCURRENCY": "9"}, 9)])
def test_parts_in_flight(values: dict[str, str], parts: int) -> None:
    assert read_settings(settings("http://127.0.0.1:1", **values)).writing.parts_in_flight == parts


@pytest.mark.parametrize(("size", "batch"), [("10", 10), ("0", 1000), ("-1", 1000), ("5000", 1000)])
def test_delete_batches(size: str, batch: int) -> None:
    assert read_settings(settings("http://127.0.0.1:1", S3_DELETE_BATCH_SIZE=size)).delete_batch == batch


def test_the_balancer_bypass_is_ignored_aloud(caplog: pytest.LogCaptureFixture) -> None:
    read_settings(settings("http://127.0.0.1:1", S3_ENDPOINT_SOURCE="http://127.0.0.1:2"))
    assert "S3_ENDPOINT_SOURCE is not supported" in caplog.text


def test_secrets_are_not_shown() -> None:
    values = {"AWS_SESSION_TOKEN": "the-token", "S3_REQUEST_ADDITIONAL_HEADERS": "{X-Auth: the-header}"}
    shown = repr(read_settings(settings("https://127.0.0.1:1", S3_SSE="AES256", S3_SSE_C=SSE_C, **values)))
    for secret in (settings("").text("AWS_SECRET_ACCESS_KEY"), ACCESS_KEY, SSE_C, "the-token", "the-header"):
        assert secret not in shown


# credentials


def credential_headers(server: S3Server) -> tuple[str, str]:
    """Access key and session token of the last request to S3."""
    headers = server.requests[-1].headers
    access_key = headers["authorization"].partition("Credential=")[2].partition("/")[0]
    return access_key, headers.get("x-amz-security-token", "")


NONE = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (ACCESS_KEY, "")),
        ({"AWS_ACCESS_KEY_ID": " trimmed\n", "AWS_SECRET_ACCESS_KEY": "\ts "}, ("trimmed", "")),
        ({"AWS_SESSION_TOKEN": "token"}, (ACCESS_KEY, "token")),
        ({**NONE, "AWS_ACCESS_KEY": "short", "AWS_SECRET_KEY": "s"}, ("short", "")),
        ({**NONE, "WALG_AWS_ACCESS_KEY_ID": "walg", "WALE_AWS_SECRET_ACCESS_KEY": "s"}, ("walg", "")),
    ],
)
def test_static_keys(server: S3Server, bucket: str, values: dict[str, str], expected: tuple[str, str]) -> None:
    with open_s3(server.url, bucket, **values) as storage:
        storage.put("a", [b"x"])
    assert credential_headers(server) == expected


def test_the_default_chain_is_the_sdks(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with open_s3(server.url, bucket, **NONE) as storage:
        storage.put("a", [b"x"])
    assert credential_headers(server) == ("from-environment", "")


def test_files_and_profile_of_the_default_chain_may_come_from_the_settings(
    server: S3Server, bucket: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("[archive]\naws_access_key_id = from-file\naws_secret_access_key = s\n")
    values = {**NONE, "AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_PROFILE": "archive"}
    with open_s3(server.url, bucket, **values) as storage:
        storage.put("a", [b"x"])
    assert credential_headers(server) == ("from-file", "")


def test_no_credentials_at_all(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, **NONE) as storage, pytest.raises(AccessDenied) as caught:
        storage.put("a", [b"x"])
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert server.requests == []


def requests_to_sts(server: S3Server) -> list[dict[str, str]]:
    """Headers of the requests to STS."""
    return [item.headers for item in server.requests if item.path == "/"]


def test_a_role_is_assumed_once(server: S3Server, bucket: str) -> None:
    values = {"AWS_ROLE_ARN": ROLE, "AWS_ROLE_SESSION_NAME": "walpy", "AWS_ENDPOINT_URL_STS": server.url}
    with open_s3(server.url, bucket, **values) as storage:
        assert server.requests == []
        for name in ("a", "b"):
            storage.put(name, [b"x"])
    (headers,) = requests_to_sts(server)
    assert f"Credential={ACCESS_KEY}/" in headers["authorization"]
    access_key, token = credential_headers(server)
    assert access_key.startswith("ASIA")
    assert token


def test_a_role_is_assumed_again_before_it_expires(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifty_five_minutes_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=55)
    monkeypatch.setattr(moto.sts.models, "utcnow", lambda: fifty_five_minutes_ago)
    values = {"AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": server.url}
    with open_s3(server.url, bucket, **values) as storage:
        storage.put("a", [b"x"])
        first = credential_headers(server)
        storage.put("b", [b"x"])
        assert credential_headers(server) != first
        assert read(storage, "a") == b"x"
    assert len(requests_to_sts(server)) == 3


def test_a_role_that_cannot_be_assumed(server: S3Server, bucket: str) -> None:
    values = {"AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": server.url}
    server.twist(Twist("POST", status=403, code="AccessDenied", times=9))
    with open_s3(server.url, bucket, **values) as storage, pytest.raises(AccessDenied) as caught:
        storage.put("a", [b"x"])
    assert "AssumeRole" in str(caught.value.__cause__)


def test_a_role_without_credentials_to_assume_it() -> None:
    with pytest.raises(AccessDenied, match="no credentials to assume it with"):
        from_config(settings("http://127.0.0.1:1", **NONE, AWS_ROLE_ARN=ROLE))


def test_web_identity_takes_the_place_of_assuming_a_role(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    with open_s3(server.url, bucket, **NONE, AWS_ROLE_ARN=ROLE) as storage:
        storage.put("a", [b"x"])
    (headers,) = requests_to_sts(server)
    assert "authorization" not in headers


def test_yandex_gets_the_token_under_its_own_name(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "from-metadata")
    with open_s3(server.url, bucket, S3_USE_YC_SESSION_TOKEN="true") as storage:
        storage.put("a", [b"x"])
    assert server.requests[0].headers["x-yacloud-subjecttoken"] == "from-metadata"


# headers, logs, TLS


@pytest.mark.parametrize("text", ["X-One: a\nX-Two: b", "- X-One: a\n- X-Two: b", '{"X-One": "a", "X-Two": "b"}'])
def test_additional_headers_are_sent_and_signed(server: S3Server, bucket: str, text: str) -> None:
    with open_s3(server.url, bucket, S3_REQUEST_ADDITIONAL_HEADERS=text) as storage:
        storage.put("a", [b"x"])
        storage.stat("a")
    for request in server.requests:
        assert (request.headers["x-one"], request.headers["x-two"]) == ("a", "b")
        assert "x-one;x-two" in request.headers["authorization"]


def test_requests_are_logged_on_demand_and_without_secrets(
    server: S3Server, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_s3(server.url, bucket) as storage:
        storage.put("a", [b"x"])
    assert "PUT" not in caplog.text
    with open_s3(server.url, bucket, S3_LOG_LEVEL="DEVEL", AWS_SESSION_TOKEN="the-token") as storage:
        storage.put("a", [b"x"])
    assert "PUT" in caplog.text
    assert ACCESS_KEY not in caplog.text
    assert "the-token" not in caplog.text


def test_a_certificate_authority_of_ones_own(tls_server: S3Server, certificate: tuple[Path, Path]) -> None:
    bucket = tls_server.new_bucket()
    with open_s3(tls_server.url, bucket, S3_CA_CERT_FILE=str(certificate[0])) as storage:
        storage.put("a", [b"x"])
        assert read(storage, "a") == b"x"


def test_an_unknown_certificate_is_refused_at_once(tls_server: S3Server) -> None:
    with (
        open_s3(tls_server.url, WALPY_STORAGE_DEADLINE="5m") as storage,
        pytest.raises(StorageError, match="certificate is not trusted") as caught,
    ):
        storage.put("a", [b"x"])
    assert "S3_CA_CERT_FILE" in caught.value.hint


@pytest.mark.parametrize("size", [10, PART_SIZE + 1])
def test_the_customers_key_goes_with_every_request(
    tls_server: S3Server, certificate: tuple[Path, Path], size: int
) -> None:
    bucket = tls_server.new_bucket()
    more = {"S3_CA_CERT_FILE": str(certificate[0]), "S3_SSE": "AES256", "S3_SSE_C": SSE_C}
    data = content(size)
    with open_s3(tls_server.url, bucket, **more) as storage:
        storage.put("a", [data], create_only=True)
        assert storage.stat("a").size == size
        tls_server.twist(Twist("GET", cut_after=3))
        assert read(storage, "a") == data
    assert len(tls_server.seen("GET")) == 2
    for request in tls_server.requests:
        if request.operation == "POST ?uploadId":
            continue  # complete needs none
        assert request.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
        assert request.headers["x-amz-server-side-encryption-customer-key"] == b64encode(SSE_C.encode()).decode()
        digest = b64encode(md5(SSE_C.encode()).digest()).decode()
        assert request.headers["x-amz-server-side-encryption-customer-key-md5"] == digest
