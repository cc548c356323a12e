"""Every error of the Azure SDK, and every error code of the service, has its class and a clear text."""

import inspect
import pickle
from pathlib import Path

import pytest
import requests
from azure.core import exceptions as sdk
from azure.identity import CredentialUnavailableError
from azure.storage.blob import StorageErrorCode

from tests.fixtures.azurite import Azurite, open_azure
from tests.fixtures.s3_server import S3Server
from walpy.errors import (
    AccessDenied,
    Interrupted,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    WalpyError,
)
from walpy.storage.azure_errors import KINDS, SDK_ERRORS, class_of_answer, error_of_answer, known, origin, walpy_error

WHAT = "cannot put 'azure://container/a'"


def error_classes() -> list[type[BaseException]]:
    return [
        found
        for _, found in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == sdk.__name__ and found is not sdk.AzureError
    ]


def test_every_error_class_of_the_sdk_is_classified() -> None:
    assert len(error_classes()) > 15
    assert [found.__name__ for found in error_classes() if known(found) is None] == []
    assert all(issubclass(found, SDK_ERRORS) for found in error_classes())


def test_an_unheard_of_error_class_still_becomes_a_storage_error() -> None:
    class Unheard(sdk.AzureError):
        pass

    assert known(Unheard) is None
    assert type(walpy_error(Unheard("new"), WHAT)) is StorageError


def test_the_table_names_errors_of_ours_only() -> None:
    assert all(issubclass(kind, StorageError) for kind in KINDS.values())


# Codes of the SDK's list that are more than "the server refused".
CODES = {
    "BlobNotFound": ObjectMissing,
    "AccountIsDisabled": AccessDenied,
    "AuthenticationFailed": AccessDenied,
    "AuthorizationFailure": AccessDenied,
    "ContainerDisabled": AccessDenied,
    "InsufficientAccountPermissions": AccessDenied,
    "InvalidAuthenticationInfo": AccessDenied,
    "NoAuthenticationInformation": AccessDenied,
    "UnauthorizedBlobOverwrite": AccessDenied,
    "ContainerBeingDeleted": StorageUnavailable,
    "InternalError": StorageUnavailable,
    "Md5Mismatch": StorageUnavailable,
    "OperationTimedOut": StorageUnavailable,
    "ServerBusy": StorageThrottled,
}


@pytest.mark.parametrize("code", [code.value for code in StorageErrorCode])
def test_every_code_of_the_service(code: str) -> None:
    error = error_of_answer(code, 409, WHAT)
    assert type(error) is CODES.get(code, StorageError)
    assert str(error).startswith(WHAT)
    assert str(error).endswith(f"({code})")
    assert pickle.loads(pickle.dumps(error)).args == error.args


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, StorageUnavailable),
        (301, StorageError),
        (400, StorageError),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, StorageError),  # no proof
        (408, StorageUnavailable),
        (409, StorageError),
        (412, StorageError),
        (429, StorageThrottled),
        (500, StorageUnavailable),
        (501, StorageError),
        (502, StorageUnavailable),
        (503, StorageThrottled),
        (504, StorageUnavailable),
        (507, StorageFull),
    ],
)
def test_status_without_a_known_code(status: int, kind: type[WalpyError]) -> None:
    assert class_of_answer("", status) is kind
    assert class_of_answer("Unheard", status) is kind


@pytest.mark.parametrize("code", ["ContainerNotFound", "AuthenticationFailed", "BlobArchived", "LeaseIdMissing"])
def test_hints(code: str) -> None:
    assert error_of_answer(code, 409, WHAT).hint.endswith(".")


def test_missing_credentials_have_a_hint() -> None:
    error = walpy_error(CredentialUnavailableError("none found\nand more"), WHAT)
    assert type(error) is AccessDenied
    assert str(error) == f"{WHAT}: no credentials: none found"
    assert "docs/azure.md" in error.hint


def test_an_error_of_walpy_inside_the_sdks_comes_back() -> None:
    inner = Interrupted("SIGTERM")
    assert walpy_error(sdk.ServiceRequestError(inner, error=inner), WHAT) is inner


def test_origin_of_an_error_is_below_all_wrappings() -> None:
    reset = ConnectionResetError("reset")
    assert origin(sdk.ServiceResponseError("x", error=requests.ConnectionError(reset))) is reset
    assert origin(reset) is reset


def test_an_untrusted_certificate_is_refused_at_once(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with (
        S3Server(certificate) as server,
        open_azure(server.url) as storage,
        pytest.raises(StorageError, match="certificate is not trusted") as caught,
    ):
        storage.stat("a")
    assert not caught.value.transient


def test_a_missing_blob_is_named(azurite: Azurite) -> None:
    with open_azure(azurite.url, azurite.new_container()) as storage:
        for call in (lambda: storage.stat("gone"), lambda: storage.open("gone")):
            with pytest.raises(ObjectMissing, match=r"azure://.*/cluster/gone': no such blob \(BlobNotFound\)"):
                call()
