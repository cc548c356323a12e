"""What a network and a server can do to the Azure backend: each ends well or clearly, and soon."""

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.fixtures.azurite import BLOCK_SIZE, Azurite, open_azure
from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.faults import NEVER, Alarm, Answer, FaultServer, closed_port
from tests.storage.contract import SourceStopped, content, failing_chunks, names, odd_chunks, read
from tests.storage.operations import RETRIED, SHORT, Operation, operations
from walpy.errors import (
    AccessDenied,
    DataCorrupt,
    Interrupted,
    ObjectExists,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    describe,
)
from walpy.storage.azure import AzureStorage

OPERATIONS = operations(BLOCK_SIZE)

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def refused(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
    return Answer(status, (("x-ms-error-code", code), ("Content-Type", "application/xml")), body)


def fails(operation: Operation, answer: Answer, kind: type[StorageError], **settings: str) -> tuple[StorageError, int]:
    """Run operation against a server that always gives this answer; the error, and how many requests it cost."""
    started = time.monotonic()
    with FaultServer(answer) as server:
        with open_azure(server.url, **settings) as storage, pytest.raises(StorageError) as caught:
            operation(storage)
        assert time.monotonic() - started < 8
        assert type(caught.value) is kind
        assert "azure://container/cluster/" in str(caught.value)
        assert caught.value.hint
        return caught.value, len(server.requests)


# whatever is done


@each_operation
def test_a_server_that_never_answers(operation: Operation) -> None:
    error, _ = fails(operation, NEVER, StorageUnavailable, **SHORT)
    assert re.search("no (answer|connection) in time", str(error))


@each_operation
def test_a_server_that_is_not_there(operation: Operation) -> None:
    with (
        open_azure(f"http://127.0.0.1:{closed_port()}", **SHORT) as storage,
        pytest.raises(StorageUnavailable, match="cannot be reached") as caught,
    ):
        operation(storage)
    assert "refused" in describe(caught.value)
    assert "AZURE_STORAGE_ACCOUNT" in caught.value.hint


@pytest.mark.parametrize("name", ["put", "large put", "open", "list", "delete several"])
def test_a_server_that_is_down(name: str) -> None:
    error, requests = fails(OPERATIONS[name], refused(500, "InternalError"), StorageUnavailable, **RETRIED)
    assert "InternalError" in str(error)
    assert requests > 1


def test_a_server_that_asks_to_slow_down() -> None:
    _, requests = fails(OPERATIONS["put"], refused(503, "ServerBusy"), StorageThrottled, **RETRIED)
    assert requests > 1


@each_operation
def test_no_permission_is_said_at_once(operation: Operation) -> None:
    _, requests = fails(operation, refused(403, "AuthorizationPermissionMismatch"), AccessDenied)
    assert requests <= 2  # the second for one object, when a batch was refused


def test_a_full_account_is_said_at_once() -> None:
    fails(OPERATIONS["put"], refused(507, "InsufficientStorage"), StorageFull)


@each_operation
def test_a_page_of_a_proxy_is_no_answer(operation: Operation) -> None:
    page = Answer(200, (("Content-Type", "text/html"),), b"<html>log in first</html>")
    if operation in (OPERATIONS["open"], OPERATIONS["stat"], OPERATIONS["open a part"]):
        pytest.skip("a success, as far as anybody can tell")
    fails(operation, page, StorageUnavailable, **SHORT)


def test_a_deadline_of_zero_is_one_attempt() -> None:
    _, requests = fails(OPERATIONS["stat"], refused(503, "ServerBusy"), StorageThrottled, WALPY_STORAGE_DEADLINE="0s")
    assert requests == 1


def test_a_server_without_batches_gets_single_deletions() -> None:
    rules = [("POST", "comp=batch", refused(400, "InvalidHeaderValue"))]
    with FaultServer(Answer(202), rules=rules) as server, open_azure(server.url) as storage:
        storage.delete(["a", "b"])
        storage.delete(["c", "d"])
        assert [request.method for request in server.requests] == ["POST", "DELETE", "DELETE", "DELETE", "DELETE"]


@pytest.mark.parametrize("name", ["put", "large put", "open", "list"])
def test_a_signal_ends_a_call_within_two_seconds(name: str) -> None:
    """The SDK does not swallow what the handler raises."""
    with FaultServer(NEVER) as server, open_azure(server.url) as storage:
        began = time.monotonic()
        with Alarm(1.0), pytest.raises(Interrupted):  # by then it waits for an answer
            OPERATIONS[name](storage)
        assert time.monotonic() - began < 3


# secrets


def test_no_signature_gets_into_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {"AZURE_STORAGE_ACCESS_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "sv=2024-11-04&sig=SECRET", **SHORT}
    answers = [NEVER, refused(403, "AuthenticationFailed"), refused(500, "InternalError"), Answer(301)]
    for answer in answers:
        for operation in ("put", "open", "delete several"):
            with (
                FaultServer(answer) as server,
                open_azure(server.url, **secret) as storage,
                pytest.raises(StorageError) as caught,
            ):
                OPERATIONS[operation](storage)
            assert any("SECRET" in request.path for request in server.requests)
            assert "SECRET" not in describe(caught.value) + repr(caught.value.__cause__)
    with (
        open_azure(f"http://127.0.0.1:{closed_port()}", **secret) as storage,
        pytest.raises(StorageError) as caught,
    ):
        storage.stat("a")
    assert "SECRET" not in describe(caught.value) + repr(caught.value.__cause__)
    assert "SECRET" not in caplog.text


# between walpy and a real server


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy(azurite.url) as proxy:
        yield proxy


@pytest.fixture
def storage(azurite: Azurite, proxy: FaultProxy) -> Iterator[AzureStorage]:
    """A storage in a new container, through the proxy; it waits a second for an answer."""
    container = azurite.new_container()
    with open_azure(proxy.url, container, WALPY_READ_TIMEOUT="1s") as storage:
        yield storage


@contextmanager
def once(proxy: FaultProxy, trouble: Trouble, **when: object) -> Iterator[None]:
    """Trouble that ends when the first request has met it; it must."""
    proxy.misbehave(trouble, **when)  # type: ignore[arg-type]
    healer = threading.Thread(target=lambda: proxy.troubled.wait(30) and proxy.heal(), daemon=True)
    healer.start()
    yield
    healer.join(30)
    assert proxy.troubled.is_set()


@pytest.mark.parametrize("trouble", [Trouble.LOSES_ANSWERS, Trouble.CUTS, Trouble.SILENT, Trouble.UNAVAILABLE])
@pytest.mark.parametrize("create_only", [False, True])
def test_trouble_in_a_small_put(proxy: FaultProxy, storage: AzureStorage, trouble: Trouble, create_only: bool) -> None:
    with once(proxy, trouble, method="PUT"):
        assert storage.put("a", [b"mine"], create_only=create_only) == 4
    assert read(storage, "a") == b"mine"


@pytest.mark.parametrize("trouble", [Trouble.LOSES_ANSWERS, Trouble.CUTS, Trouble.SILENT])
@pytest.mark.parametrize("part", ["blockid=", "comp=blocklist"])
def test_trouble_in_a_large_create(proxy: FaultProxy, storage: AzureStorage, trouble: Trouble, part: str) -> None:
    data = content(3 * BLOCK_SIZE + 5)
    with once(proxy, trouble, method="PUT", part=part):
        assert storage.put("a", odd_chunks(data), create_only=True) == len(data)
    assert read(storage, "a") == data


def test_an_unanswered_create_does_not_take_anothers_blob_for_its_own(proxy: FaultProxy, storage: AzureStorage) -> None:
    storage.put("a", [b"same"])
    with once(proxy, Trouble.UNAVAILABLE, method="PUT"), pytest.raises(ObjectExists):
        storage.put("a", [b"same"], create_only=True)


@pytest.mark.parametrize("trouble", [Trouble.CUTS, Trouble.SILENT])
@pytest.mark.parametrize("offset", [0, 7])
def test_a_download_goes_on_where_it_broke(
    proxy: FaultProxy, storage: AzureStorage, trouble: Trouble, offset: int
) -> None:
    data = content(3 * BLOCK_SIZE)
    storage.put("a", odd_chunks(data))
    proxy.requests.clear()
    with once(proxy, trouble, method="GET", after_bytes=BLOCK_SIZE + 100_000):
        assert read(storage, "a", offset=offset) == data[offset:]
    assert len(proxy.requests) == 2


def test_a_blob_that_is_replaced_while_it_is_read(proxy: FaultProxy, storage: AzureStorage) -> None:
    storage.put("a", odd_chunks(content(3 * BLOCK_SIZE)))
    proxy.misbehave(Trouble.CUTS, method="GET", after_bytes=BLOCK_SIZE + 100_000)

    def replace() -> None:
        assert proxy.troubled.wait(30)
        storage.put("a", odd_chunks(content(3 * BLOCK_SIZE, seed=2)))
        proxy.heal()

    with storage.open("a") as reader, ThreadPoolExecutor(1) as pool:
        replaced = pool.submit(replace)
        with pytest.raises(DataCorrupt, match="was replaced"):
            list(reader)
        replaced.result()


def test_an_interrupted_put_ends_at_once(proxy: FaultProxy, storage: AzureStorage) -> None:
    """Its blocks stay invisible, and no request is made for them."""
    started = time.monotonic()
    proxy.misbehave(Trouble.SILENT, method="PUT")
    with pytest.raises(SourceStopped):
        storage.put("a", failing_chunks(content(BLOCK_SIZE + 1), SourceStopped()))
    assert time.monotonic() - started < 2.5  # what a signal leaves for cleaning up, and a little
    proxy.heal()
    assert names(storage) == []


MEASURED_PUT = """
import resource, sys
from tests.fixtures.azurite import open_azure
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
chunk = memoryview(bytearray(1 << 20))
with open_azure(sys.argv[1], AZURE_BUFFER_SIZE=str(4 << 20), AZURE_MAX_BUFFERS="3") as storage:
    storage.put("small", [chunk])
    before = peak()
    storage.put("large", (chunk for _ in range(100)))
    print(peak() - before)
"""


def test_memory_of_a_put_of_100_mib_is_its_buffers() -> None:
    with FaultServer(Answer(201)) as server:
        process = subprocess.run(
            [sys.executable, "-c", MEASURED_PUT, server.url], stdout=subprocess.PIPE, text=True, check=True
        )
        assert len(server.requests) == 1 + 25 + 1
    assert int(process.stdout) < 20  # MiB: three buffers of 4, and threads with a piece each
