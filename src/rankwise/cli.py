"""The command line: ``rankwise <command>``, the same as ``python -m rankwise <command>``.

Exit codes: 0 done, 2 bad input (one sentence, no traceback), 3 does not fit, 130 interrupted.
"""

import logging
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

# Before numpy is loaded: BLAS threads beside those of PyTorch make both slower, and other bytes.
# PyTorch's own number is compute.threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rankwise.commands.bench import bench
from rankwise.commands.compare import compare
from rankwise.commands.export import export
from rankwise.commands.init import init
from rankwise.commands.migrate import migrate
from rankwise.commands.plan import plan
from rankwise.commands.run import run
from rankwise.commands.show import show
from rankwise.commands.sync import sync
from rankwise.commands.ui import ui
from rankwise.commands.verify import verify
from rankwise.commands.why import why
from rankwise.errors import RankwiseError, is_out_of_memory
from rankwise.files.atomic import REFUSALS, write_json
from rankwise.params import memory
from rankwise.stages import (
    allocate,
    build,
    code,
    covariance,
    decompose,
    evaluate,
    fisher,
    params,
    prepare_corpora,
    prepare_model,
    prepare_tasks,
    refine,
    report,
    sample,
    speed,
    suggest,
    track,
    trial,
)
from rankwise.workflow.locks import refuse_other_engine

app = typer.Typer(
    help="Low-rank compression of large language models as a reproducible workflow.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context,
    log: Annotated[Path | None, typer.Option(help="Write the log here as well.")] = None,
) -> None:
    """Set logging up once, before any command; beside a log, say what the command took."""
    if "DVC_STAGE" in os.environ:
        refuse_other_engine()
    logging.raiseExceptions = False  # a full disk is told by what it keeps from being written
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="w", encoding="utf-8"))
        context.call_on_close(partial(_record_cost, log.with_suffix(".json"), time.perf_counter()))
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", handlers=handlers)
    for noisy in ("httpx", "datasets", "filelock", "lm_eval", "alembic", "hyperopt", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


for user_command in (
    *(init, plan, run, why, show, compare, bench, verify, export, ui),
    *(sync, migrate),
):
    app.command(rich_help_panel="A study")(user_command)
prepare = typer.Typer(help="Manifests of model, texts and tasks: source, revision, hashes.")
for part, module in (
    ("model", prepare_model),
    ("corpora", prepare_corpora),
    ("tasks", prepare_tasks),
):
    prepare.command(part)(module.command)
app.add_typer(prepare, name="prepare", rich_help_panel="Stages, as the rules call them")
for stage in (
    sample,
    covariance,
    fisher,
    decompose,
    suggest,
    trial,
    allocate,
    build,
    refine,
    evaluate,
    speed,
    report,
    track,
    code,
    params,
):
    name = stage.__name__.rpartition(".")[2]
    app.command(name, rich_help_panel="Stages, as the rules call them")(stage.command)


def _record_cost(path: Path, began: float) -> None:
    """Write what this process took since ``began``: wall and CPU time [s], peak memory [MB]."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "peak_mb": used.ru_maxrss // 1024,
    }
    write_json(path, cost)


def main() -> None:
    """Run one command; what a person can mend becomes one sentence and exit code 2."""
    began = time.perf_counter()
    log = logging.getLogger("rankwise")
    try:
        app()
    except RankwiseError as error:
        log.error("%s", error)
        sys.exit(2)
    except FileNotFoundError as error:
        log.error(
            "%s does not exist; look for a mistake in the name, or run the stage that makes it: rankwise run",
            error.filename,
        )
        sys.exit(2)
    except OSError as error:
        if error.errno not in REFUSALS:
            log.exception("not foreseen")
            sys.exit(1)
        log.error(
            "%s: %s; make room there or give permission, then run the same again",
            error.filename or "a file", error.strerror,
        )  # fmt: skip
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            log.exception("not foreseen")
            sys.exit(1)
        log.error(
            "no memory left (%s); %s",
            str(error).partition("\n")[0],
            memory.advise_less_memory(sys.argv),
        )
        sys.exit(2)
    except Exception:  # for the job's log as well, which is what an engine shows
        log.exception("not foreseen")
        sys.exit(1)
    finally:
        if log.hasHandlers():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            log.info("%.1f s, at most %d MB", time.perf_counter() - began, peak)
