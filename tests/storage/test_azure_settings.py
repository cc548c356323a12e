"""Settings of the Azure backend: WAL-G's, read as WAL-G reads them, and what is refused."""

import subprocess
import sys

import pytest

from tests.fixtures.azurite import ACCESS_KEY, azure_settings
from walpy.config import Config
from walpy.config_failover import status_key
from walpy.errors import ConfigError
from walpy.storage import open_storage
from walpy.storage.azure import from_config
from walpy.storage.azure_client import AzureSettings, read_settings

BASIC = {"WALG_AZ_PREFIX": "azure://backups/cluster", "AZURE_STORAGE_ACCOUNT": "account"}


def settings(**values: str) -> AzureSettings:
    return read_settings(Config.from_mapping(BASIC | values))


def test_defaults_are_walgs() -> None:
    assert settings() == AzureSettings(
        endpoint="https://account.blob.core.windows.net",
        container="backups",
        root="cluster",
        account="account",
        access_key="",
        sas_token="",
        buffer_size=8 << 20,
        buffers=4,
        api_version="",
    )


@pytest.mark.parametrize(
    ("prefix", "sub_folder", "container", "root"),
    [
        ("azure://c", "", "c", ""),
        ("azure://c/", "/a/", "c", "a"),
        ("azure://c/a%20b/d/", "e", "c", "a b/d/e"),
        ("x://c/a", "", "c", "a"),
    ],
)
def test_prefixes(prefix: str, sub_folder: str, container: str, root: str) -> None:
    found = settings(WALG_AZ_PREFIX=prefix, WALG_STORAGE_PREFIX=sub_folder)
    assert (found.container, found.root) == (container, root)


@pytest.mark.parametrize(
    ("values", "endpoint"),
    [
        ({"AZURE_ENVIRONMENT_NAME": "AzureUSGovernmentCloud"}, "https://account.blob.core.usgovcloudapi.net"),
        ({"AZURE_ENVIRONMENT_NAME": "AzureChinaCloud"}, "https://account.blob.core.chinacloudapi.cn"),
        ({"AZURE_ENVIRONMENT_NAME": "AzureGermanCloud"}, "https://account.blob.core.cloudapi.de"),
        ({"AZURE_ENVIRONMENT_NAME": "Other"}, "https://account.blob.core.windows.net"),
        ({"AZURE_ENVIRONMENT_NAME": "AzureChinaCloud", "AZURE_ENDPOINT_SUFFIX": "local"}, "https://account.blob.local"),
        ({"WALG_AZURE_ENDPOINT_SUFFIX": "stack.local:1234"}, "https://account.blob.stack.local:1234"),
        ({"WALPY_AZURE_ENDPOINT": "http://127.0.0.1:10000/account/"}, "http://127.0.0.1:10000/account"),
    ],
)
def test_endpoints(values: dict[str, str], endpoint: str) -> None:
    assert settings(**values).endpoint == endpoint


def test_uploads() -> None:
    found = settings(WALG_AZURE_BUFFER_SIZE="4194304", WALG_AZURE_MAX_BUFFERS="2")
    assert (found.buffer_size, found.buffers) == (4 << 20, 2)
    found = settings(AZURE_BUFFER_SIZE="0", AZURE_MAX_BUFFERS="0")
    assert (found.buffer_size, found.buffers) == (1024, 1)  # WAL-G's least


def test_a_token_may_begin_with_a_question_mark() -> None:
    assert settings(AZURE_STORAGE_SAS_TOKEN="?sv=1&sig=x\n").sas_token == "sv=1&sig=x"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WALG_AZ_PREFIX": "backups/cluster"}, "WALG_AZ_PREFIX has the wrong value"),
        ({"AZURE_STORAGE_ACCOUNT": ""}, "AZURE_STORAGE_ACCOUNT is not set"),
        ({"AZURE_BUFFER_SIZE": "8MB"}, "AZURE_BUFFER_SIZE"),
        ({"AZURE_TRY_TIMEOUT": "5m"}, "AZURE_TRY_TIMEOUT"),
        ({"WALPY_AZURE_ENDPOINT": "127.0.0.1:10000"}, "WALPY_AZURE_ENDPOINT"),
        ({"AZURE_STORAGE_ACCESS_KEY": "no key!"}, "AZURE_STORAGE_ACCESS_KEY has a wrong value"),
        ({"AZURE_STORAGE_ACCESS_KEY": ACCESS_KEY, "AZURE_BLOB_STORE_API_VERSION": "1999-01-01"}, "1999-01-01"),
        ({"WALPY_AZURE_ENDPOINT": "http://127.0.0.1:10000/account"}, "HTTPS"),  # a token of an identity
    ],
)
def test_wrong_settings(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_config(Config.from_mapping({**BASIC, **values}))
    assert "no key!" not in str(caught.value)


def test_a_version_of_the_protocol() -> None:
    storage = from_config(Config.from_mapping(azure_settings("http://x", AZURE_BLOB_STORE_API_VERSION="2021-08-06")))
    assert storage._container.client.api_version == "2021-08-06"
    storage.close()


def test_url_shows_no_secret() -> None:
    storage = open_storage(Config.from_mapping(azure_settings("http://x", AZURE_STORAGE_SAS_TOKEN="sig=x")))
    assert storage.url == "azure://container/cluster"
    storage.close()


def test_failover_tells_accounts_apart() -> None:
    one, other = (status_key("x", Config.from_mapping({**BASIC, "AZURE_STORAGE_ACCOUNT": name})) for name in "ab")
    assert one != other


def test_a_missing_sdk_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("walpy.storage.azure")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "azure.core", None)
    with pytest.raises(ConfigError, match="needs a library that is not installed") as caught:
        open_storage(Config.from_mapping({**BASIC, "AZURE_STORAGE_ACCESS_KEY": ACCESS_KEY}))
    assert "pip install 'walpy-pg[azure]'" in caught.value.hint


def test_a_missing_identity_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(ConfigError, match="no credentials for Azure") as caught:
        from_config(Config.from_mapping(BASIC))
    assert "AZURE_STORAGE_ACCESS_KEY" in caught.value.hint
    from_config(Config.from_mapping({**BASIC, "AZURE_STORAGE_SAS_TOKEN": "sig=x"})).close()


def test_an_identity_is_used_without_key_and_token() -> None:
    from_config(Config.from_mapping(BASIC)).close()


def test_the_identity_library_is_imported_only_when_it_is_needed() -> None:
    program = "import sys; from tests.fixtures.azurite import open_azure\n"
    program += (
        "with open_azure('http://x'): print([name for name in sys.modules if name.startswith(('azure.id', 'msal'))])"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert found == "[]\n"
