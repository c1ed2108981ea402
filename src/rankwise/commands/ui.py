"""What a study found, looked at: its table, its page, two of its runs, MLflow."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from rankwise.commands.recorded import read_recorded_command
from rankwise.commands.show import find_report
from rankwise.errors import RankwiseError, without_passwords
from rankwise.workflow import engines


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Bring MLflow up to date with the files and open it on 127.0.0.1.

    Example: rankwise ui --port 5001
    """
    find_report()
    command = read_recorded_command("track")
    store = Path(command[command.index("--store") + 1])
    aside = store.with_name("tracked.json")  # the artifact itself stays as the engines know it
    command[command.index("--out") + 1] = str(aside)
    filled = engines.run_command(sys.executable, *command)
    if filled.returncode:
        raise RankwiseError(f"MLflow could not be filled: {filled.stderr.strip()}")
    if "MLFLOW_TRACKING_URI" in os.environ:
        address = without_passwords(os.environ["MLFLOW_TRACKING_URI"])
        typer.echo(f"MLflow is filled; it is served at {address}")
        return
    typer.echo(f"MLflow: http://127.0.0.1:{port} (stop it with Ctrl-C)")
    options = [
        "--backend-store-uri",
        f"sqlite:///{store}",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]
    raise typer.Exit(subprocess.call(server, env=engines.environment() | quiet))
