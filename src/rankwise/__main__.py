"""The command line: ``rankwise <command>``, the same as ``python -m rankwise <command>``.

Exit codes: 0 done, 2 bad input (one sentence, no traceback), 130 interrupted.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.stages import (
    allocate,
    build,
    covariance,
    decompose,
    evaluate,
    params,
    prepare,
    report,
    sample,
    speed,
    track,
)
from rankwise.study import init, run, ui

app = typer.Typer(
    help="Low-rank compression of large language models as a reproducible workflow.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    log: Annotated[Path | None, typer.Option(help="Write the log here as well.")] = None,
) -> None:
    """Set logging up once, before any command."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="w", encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", handlers=handlers)
    for noisy in ("httpx", "datasets", "filelock", "lm_eval", "alembic", "hyperopt", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


for group in (prepare,):
    app.add_typer(group.app, name="prepare")
for command in (sample, covariance, decompose, allocate, build, evaluate, speed, report, track):
    app.command(command.__name__.rpartition(".")[2])(command.command)
app.command("params")(params.command)
app.command("init")(init)
app.command("run")(run)
app.command("ui")(ui)


def main() -> None:
    """Run one command; a RankwiseError becomes one sentence and exit code 2."""
    began = time.perf_counter()
    log = logging.getLogger("rankwise")
    try:
        app(standalone_mode=True)
    except RankwiseError as error:
        log.error("%s", error)
        sys.exit(2)
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(130)
    finally:
        log.debug("%.1f s", time.perf_counter() - began)


if __name__ == "__main__":
    main()
