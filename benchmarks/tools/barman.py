"""barman-cloud, which stores in the cloud alone: here in the S3 sink."""

from collections.abc import Sequence

from benchmarks.bench import BUCKET, Bench
from benchmarks.model import Command

NAME = "barman-cloud-backup"
SERVER = "bench"
PREFIX = "barman"


def url() -> str:
    """Where it stores."""
    return f"s3://{BUCKET}/{PREFIX}"


def command(bench: Bench, name: str, arguments: Sequence[str]) -> Command:
    """barman-cloud-NAME with the sink's address; arguments: URL, server, and what follows."""
    assert bench.services.sink is not None
    program = bench.programs[NAME].replace("backup", name)
    options = ["--cloud-provider", "aws-s3", "--endpoint-url", bench.services.sink.endpoint]
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    return Command((program, *options, *arguments), {**bench.environment, **credentials}, bench.work)


def clear(bench: Bench) -> None:
    """Remove all that it stored."""
    assert bench.services.sink is not None
    bench.services.sink.forget(f"{BUCKET}/{PREFIX}/")
