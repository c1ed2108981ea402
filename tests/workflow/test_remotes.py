"""Results of Snakemake that DVC adopted move to another folder, after which neither engine has anything to do."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.studies import IN_GIT, Study
from tests.workflow.test_what_reruns import PLAIN

RESULTS = shutil.ignore_patterns("data", "logs", ".snakemake", "cache", "tmp")
PATIENCE = 60
"""Until the server counts as hanging [s]."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """A bucket of an S3-compatible server on this machine, and who may write to it."""
    boto3 = pytest.importorskip("boto3", reason="no boto3 (extra: dev)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    who = {
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(address):
            assert server.poll() is None and time.monotonic() < end, "moto's server does not answer"
            time.sleep(0.1)
        keys = {
            "aws_access_key_id": "one",
            "aws_secret_access_key": "two",
            "region_name": "us-east-1",
        }
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="studies")
        yield address, who
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):  # noqa: S310 (this machine's own)
            return True
    except OSError:
        return False


def test_a_laptop_that_pulls_has_nothing_to_do(
    bucket: tuple[str, dict[str, str]],
    small: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, who = bucket
    for name, value in who.items():
        monkeypatch.setenv(name, value)
    for name, where in (("disk", str(tmp_path / "store")), ("s3", "s3://studies/small")):
        small.do("dvc", "remote", "add", name, where)
    small.do("dvc", "remote", "modify", "s3", "endpointurl", address)
    for name in ("disk", "s3"):
        small.do("dvc", "push", "--quiet", "--remote", name)
        shutil.copytree(small.folder, tmp_path / name, symlinks=True, ignore=RESULTS)
        laptop = Study(tmp_path / name)
        for pattern in IN_GIT:
            for path in small.folder.glob(pattern):
                copy = laptop.folder / path.relative_to(small.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        laptop.do("dvc", "pull", "--quiet", "--remote", name)
        assert laptop.hashes() == small.hashes()
    assert "Nothing to be done" in laptop.do("python", "-m", "rankwise", "run")
    assert laptop.snakemake_would_run() == laptop.dvc_would_run() == set()


def test_an_experiment_runs_the_changed_tail_alone(small: Study) -> None:
    small.do("git", "init", "--quiet")
    small.do("dvc", "config", "--unset", "core.no_scm")
    (small.folder / ".gitignore").write_text("/data\n/logs\n/.snakemake\n/inputs\n")
    (small.folder / ".dvc/.gitignore").write_text("/cache\n/tmp\n")
    small.do("git", "add", "--all")
    me = ("-c", "user.name=one", "-c", "user.email=one@localhost")
    small.do("git", *me, "commit", "--quiet", "--message", "finished")
    said = small.do("dvc", "exp", "run", "--set-param", "allocate.uniform.floor=0.2")
    ran = set(re.findall(r"Running stage '([\w@-]+)'", said))
    expected = {
        name for name in small.stages() if name in PLAIN.replace("trained", "plain").split()
    }
    assert ran == {"code", "params", *expected}
    assert small.snakemake_would_run() == set()
    assert small.dvc_would_run() == set()
