"""The server: loads libraries, then forks a child for every command handed to it.

``python -m rankwise.forkserver.server LISTENER PARENT`` with an open listening socket and the process
that it must not outlive. A fork copies one thread only, and locks held by others stay locked for
ever: nothing here may start a thread, and that none runs is checked before every fork.
"""

import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rankwise.forkserver import job
from rankwise.forkserver.protocol import PACKET, Request, difference, interpreter, receive, send

PRELOADED = (
    *("typer", "rich.console", "pydantic", "ruamel.yaml", "tqdm", "jinja2"),
    *("numpy", "torch", "safetensors.torch", "threadpoolctl"),
    *("transformers.models.llama.modeling_llama", "transformers.models.llama.configuration_llama"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("accelerate", "datasets", "lm_eval.evaluator", "lm_eval.models.huggingface"),
    *("scipy.optimize", "scipy.stats", "hyperopt"),
)
"""What the stages that come many times import. Reports and MLflow come once; nothing is gained there."""
THREADLESS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Settings of libraries that start a thread when they are loaded: pyarrow's second allocator does."""
Forked = tuple[Request, list[int]]


class Server:
    """Children by the connections that asked for them; one thread, one loop."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.interpreter, self.environment = interpreter(), dict(os.environ)
        self.selector = selectors.DefaultSelector()
        self._watch(listener, self._accept)

    def serve(self) -> Forked:
        """Serve for ever; returns in the children only, with the request and the three files of each."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj not in self.selector.get_map():
                    continue  # closed by an event before it
                forked = key.data()
                if forked is not None:
                    return forked

    def _watch(self, file: socket.socket | int, call: Callable[[], Forked | None]) -> None:
        self.selector.register(file, selectors.EVENT_READ, call)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        if _owner(connection) != os.getuid():
            connection.close()
        else:
            self._watch(connection, partial(self._start, connection))

    def _start(self, connection: socket.socket) -> Forked | None:
        """Read a request and fork, or say why not; returns in the child only."""
        self.selector.unregister(connection)
        files: list[int] = []
        try:
            packet, files, _, _ = socket.recv_fds(connection, PACKET, 3)
            if not packet:  # the client ended before it asked
                connection.close()
                return None
            request = Request.decode(packet)
            refused = difference(request, self.interpreter, self.environment) or _threads()
            pid = -1 if refused else os.fork()
        except (ValueError, TypeError, OSError) as error:
            refused, pid = f"the fork server could not fork ({error})", -1
        if pid == 0:
            self._let_go()
            connection.close()
            return request, files
        for file in files:
            os.close(file)
        if refused:
            print(refused, file=sys.stderr, flush=True)  # noqa: T201
            _tell(connection, refused=refused)
            connection.close()
            return None
        os.setpgid(pid, pid)  # here as well as in the child: whichever comes first
        ended = os.pidfd_open(pid)
        self._watch(connection, partial(self._signal, connection, pid))
        self._watch(ended, partial(self._reap, connection, pid, ended))
        _tell(connection, accepted=pid)
        return None

    def _signal(self, connection: socket.socket, pid: int) -> None:
        """Pass a signal on; a client that is gone takes its command with it."""
        number = receive(connection).get("signal")
        os.killpg(pid, number or signal.SIGKILL)
        if number is None:
            self.selector.unregister(connection)

    def _reap(self, connection: socket.socket, pid: int, ended: int) -> None:
        self.selector.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(pid, 0)
        if connection in self.selector.get_map():
            self.selector.unregister(connection)
        _tell(connection, status=status)
        connection.close()

    def _let_go(self) -> None:
        """Close in the child what belongs to the server: an open copy would hide that it is gone."""
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)
        self.selector.close()


def _tell(connection: socket.socket, **message: object) -> None:
    """Send a message to a client that may be gone; whether it is, its own socket says later."""
    try:
        send(connection, **message)
    except ConnectionError:
        return


def _owner(connection: socket.socket) -> int:
    """Return the user at the other end, by the kernel's word."""
    form = "3i"
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, peer)[1])


def _threads() -> str:
    """Return why this process cannot fork safely, empty if it can."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return f"the fork server runs threads: {', '.join(names)}" if len(names) > 1 else ""


def main() -> None:
    """Load, then serve; every child goes on from here as the command that it was forked for."""
    listener, parent = map(int, sys.argv[1:])
    job.end_with(parent)
    server = Server(socket.socket(fileno=listener))
    pid = os.getpid()
    os.environ.update(THREADLESS)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = "1"
    before = dict(os.environ)
    for module in PRELOADED:
        importlib.import_module(module)
    imported = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.collect()
    gc.freeze()  # a collection in a child would write to, hence copy, all that was loaded
    request, files = server.serve()
    job.end_with(pid)
    job.become(request, files, imported)
    job.run()


if __name__ == "__main__":
    main()
