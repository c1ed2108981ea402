"""Starts a fork server beside an engine and ends it with it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from rankwise.forkserver.address import ADDRESS
from rankwise.forkserver.protocol import new_socket

AVAILABLE = sys.platform == "linux"
"""Whether the kernel has what this rests on: pidfds, peers' users, death signals."""


@contextmanager
def fork_server(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the variables that an engine's environment needs for its jobs to use a fork server.

    The socket listens at once, in a folder that only this user can enter; commands wait on it while
    the server loads. Where there can be no server the variables are none and jobs start by themselves.
    """
    if not AVAILABLE:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="rankwise-") as folder:
        address = str(Path(folder) / "socket")
        log = Path(folder) / "log"
        with new_socket() as listener:
            try:
                listener.bind(address)
            except OSError as error:  # a path longer than 107 bytes, a file system without sockets
                typer.echo(f"Jobs start by themselves: {address}: {error}", err=True)
                yield {}
                return
            listener.listen(socket.SOMAXCONN)
            server = _start(listener, environment, log)
        try:
            yield {ADDRESS: address}
        finally:
            ended = server.poll()
            server.terminate()
            server.wait()
            said = dict.fromkeys(log.read_text(encoding="utf-8", errors="replace").splitlines())
            if ended is not None:
                typer.echo(f"The fork server ended early, with exit code {ended}.", err=True)
            for line in said:  # of a refused job, mostly: slower, but not wrong
                typer.echo(f"fork server: {line}", err=True)


def _start(
    listener: socket.socket, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own: a Ctrl-C is for the jobs' processes to pass on."""
    number = listener.fileno()
    words = ["-m", "rankwise.forkserver.server", str(number), str(os.getpid())]
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
