# make demo          archive, lose and restore a throw-away PostgreSQL on a folder
# make test          set everything up and run the whole suite
# make check         the static half alone: format, lint, types
# make test-matrix   the suite's PostgreSQL part on 13 to 18
# make test-servers  the storage suite on servers that check signatures and preconditions
# make test-systemd  the daemon's unit under a systemd of its own, in an emulated machine (root; see tests/systemd)
# make bench         the benchmarks (see benchmarks/README.md); BENCH_ARGS="--only backup" for some rows
# make bench-quick   the same on a tenth of the data, to see that every row works

PYTEST_ARGS ?=
BENCH_ARGS ?=
# More than cores: much of the suite waits for servers.
WORKERS ?= 3

.PHONY: demo test check test-matrix test-servers test-systemd bench bench-quick clean

demo:
	@sh tests/setup.sh demo
	@$$(readlink -f .venv)/bin/python -m tests.demo

test:
	@sh tests/setup.sh test
	@sh tests/setup.sh azurite
	WALPY_TEST_REQUIRE=postgres,s3,gcs,azurite,ssh,pgbackrest,gpg $$(readlink -f .venv)/bin/python -m pytest -n $(WORKERS) \
	    -m "not matrix and not servers" $(PYTEST_ARGS)

check:
	@sh tests/setup.sh test
	$$(readlink -f .venv)/bin/ruff format --check .
	$$(readlink -f .venv)/bin/ruff check .
	$$(readlink -f .venv)/bin/mypy

test-matrix:
	@sh tests/setup.sh test
	@sh tests/setup.sh matrix
	WALPY_TEST_REQUIRE=postgres,postgres-13,postgres-14,postgres-16,postgres-17,postgres-18 \
	    $$(readlink -f .venv)/bin/python -m pytest -n $(WORKERS) -m matrix $(PYTEST_ARGS)

test-servers:
	@sh tests/setup.sh test
	@sh tests/servers/run.sh $$(readlink -f .venv)/bin/python -m pytest -m servers $(PYTEST_ARGS)

test-systemd:
	@sh tests/setup.sh demo
	@sh tests/systemd/boot.sh

bench:
	@sh tests/setup.sh test
	$$(readlink -f .venv)/bin/python -m benchmarks run $(BENCH_ARGS)

bench-quick:
	@sh tests/setup.sh test
	$$(readlink -f .venv)/bin/python -m benchmarks quick $(BENCH_ARGS)

clean:
	rm -rf .venv .work .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
