"""One contract, run against every storage backend."""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.storage.contract_{part}" for part in ("base", "list", "put", "read")),
)
