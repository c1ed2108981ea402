"""What a forked child does to be the process that its client would have been, and to end like one."""

import atexit
import ctypes
import importlib
import os
import runpy
import signal
import sys
import tempfile
import threading
from typing import NoReturn

from rankwise.forkserver.address import ADDRESS
from rankwise.forkserver.protocol import Request

PR_SET_PDEATHSIG = 1
"""Option of prctl(2)."""


def end_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def become(request: Request, files: list[int], imported: dict[str, str]) -> None:
    """Take over files, folder, environment and arguments, and be as unused as a new process.

    ``imported`` are the variables that libraries set when they are loaded. Python reseeds its own
    generator in a forked child, NumPy's and PyTorch's are seeded here as a new process seeds them.
    This package is forgotten, so that it is imported from the files as they are now.
    """
    import numpy as np
    import torch
    from threadpoolctl import threadpool_limits

    os.setpgid(0, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.umask(request.umask)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(imported)
    os.environ.update({k: v for k, v in request.environment.items() if k != ADDRESS})
    tempfile.tempdir = None
    sys.argv = request.arguments
    np.random.seed()
    torch.seed()
    threadpool_limits(int(request.threads("OPENBLAS")), "blas")
    threadpool_limits(int(request.threads("OMP")), "openmp")  # PyTorch asks when it first computes
    for module in [name for name in sys.modules if name.split(".")[0] == "rankwise"]:
        del sys.modules[module]
    importlib.invalidate_caches()


def run() -> NoReturn:
    """Run the command line and end, without taking apart what was loaded: that alone takes seconds.

    What the interpreter does at its end and a command may count on is done here: the exit code,
    threads waited for, exit handlers called (logs among them), output written.
    """
    code = 1
    try:
        runpy.run_module("rankwise", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)  # noqa: T201
    return 1
