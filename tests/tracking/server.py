"""MLflow's server as 'rankwise ui' starts it, and questions to it."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankwise.workflow import engines

PATIENCE = 120


@contextmanager
def serving(backend: str, log: Path, *options: str) -> Iterator[str]:
    """Yield the address of MLflow's server over a backend, started as `rankwise ui` starts it."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", backend, *options),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("w") as told:
        process = subprocess.Popen(
            command, env=engines.environment() | quiet, stdout=told, stderr=told
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE
        while not answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def ask(server: str, path: str, **body: Any) -> Any:
    request = urllib.request.Request(  # noqa: S310
        f"{server}/api/2.0/mlflow/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
