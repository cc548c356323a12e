"""One contract, run against every storage backend."""

import pytest

pytest.register_assert_rewrite("tests.storage.contract")
