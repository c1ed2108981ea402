"""Stands in for rankwise.cli: says what its process is, or ends in the way that is asked."""

import atexit
import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

WORD = "first"


def main() -> None:
    """Do what the first argument names; the second is a file to write."""
    globals()[sys.argv[1]]()


def facts() -> None:
    environment = dict(os.environ)
    import numpy as np
    import torch
    import transformers
    from threadpoolctl import threadpool_info

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("rankwise").info("said once")
    umask = os.umask(0)
    pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
    said = {
        "arguments": sys.argv,
        "folder": str(Path.cwd()),
        "environment": environment,
        "umask": umask,
        "torch": torch.get_num_threads(),
        "blas": pools["openblas"],
        "transformers": transformers.__version__,
        "package": sys.modules["rankwise"].__file__,
        "handlers": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
        "terminal": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "buffering": [sys.stdout.line_buffering, sys.stderr.line_buffering],
    }
    own = {
        "parent": os.getppid(),
        "drawn": [random.random(), float(np.random.random()), float(torch.rand(()))],
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "leader": os.getpgid(0) == os.getpid(),
    }
    print(json.dumps([said, own]))


def word() -> None:
    print(WORD)


def wait() -> None:
    file = Path(sys.argv[2])
    try:
        file.with_suffix(".new").write_text(str(os.getpid()))
        file.with_suffix(".new").rename(file)
        time.sleep(60)
    finally:
        file.with_name("cleaned").touch()


def done() -> None:
    atexit.register(print, "last words")
    print("no newline", end="")


def refuse() -> None:
    sys.exit(2)


def sentence() -> None:
    sys.exit("rankwise: no such luck")


def fail() -> None:
    raise ValueError("a mistake")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
