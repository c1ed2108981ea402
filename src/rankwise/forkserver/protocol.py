"""What client and server say to each other: JSON, one packet a message, over a Unix socket.

client → server   the request, with stdin, stdout and stderr as file descriptors; {"signal": number}
server → client   {"accepted": pid} or {"refused": reason}; {"status": wait status}
"""

import json
import os
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankwise.forkserver.address import ADDRESS

PACKET = 1 << 20
"""Longest message read [bytes]; the kernel refuses to send one of a fifth of that."""
THREADS = frozenset(
    f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "GOTO", "MKL", "NUMEXPR")
) | {"VECLIB_MAXIMUM_THREADS"}
"""Variables that libraries read when they are loaded; the job sets its numbers by call instead."""
OWN = frozenset(
    {ADDRESS, "PATH", "PWD", "OLDPWD", "SHLVL", "_", "DVC_ROOT", "DVC_STAGE"}
    | {"TMPDIR", "TMP", "TEMP", "TEMPDIR"}
)
"""Variables that engines and shells set for every job, and no library reads when it is loaded."""


def new_socket() -> socket.socket:
    """Return a socket that keeps messages apart."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, **message: Any) -> None:
    """Send one message."""
    connection.send(json.dumps(message).encode())


def receive(connection: socket.socket) -> dict[str, Any]:
    """Return the next message, empty if the other side is gone."""
    try:
        packet = connection.recv(PACKET)
    except ConnectionError:
        return {}
    return dict(json.loads(packet)) if packet else {}


@dataclass(frozen=True)
class Request:
    """A command and what its process would inherit; ``interpreter`` says what Python it expects."""

    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]
    interpreter: dict[str, Any]

    @classmethod
    def here(cls, arguments: list[str]) -> "Request":
        """Return the request to run ``arguments`` as this process would."""
        umask = os.umask(0)
        os.umask(umask)
        return cls(arguments, str(Path.cwd()), umask, dict(os.environ), interpreter())

    def encode(self) -> bytes:
        """Return the request as one packet."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, packet: bytes) -> "Request":
        """Return the request of a packet; raises ValueError or TypeError for anything else."""
        return cls(**json.loads(packet))

    def threads(self, library: str) -> str:
        """Return what the environment says of a library's threads; 1 as in the command line."""
        return self.environment.get(f"{library}_NUM_THREADS", "1")


def interpreter() -> dict[str, Any]:
    """Return what decides which code an import gets: equal here and there, or the server is stale.

    The times are those of the folders that libraries are installed in, and of this package's files.
    """
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    times = [*Path(__file__).parent.glob("*.py"), *installed]
    return {
        "python": [sys.prefix, sys.version, os.path.realpath(sys.executable)],
        "flags": [*sys.flags, *sys.warnoptions],
        "path": sys.path,
        "times": {str(path): path.stat().st_mtime_ns for path in sorted(times)},
    }


def difference(request: Request, here: dict[str, Any], environment: Mapping[str, str]) -> str:
    """Return why a fork of this process would not be what the client is, empty if it would."""
    for name, value in here.items():
        if request.interpreter.get(name) != value:
            return f"its Python differs from the fork server's in '{name}'"
    theirs = request.environment
    names = (theirs.keys() | environment.keys()) - OWN - THREADS
    differ = sorted(name for name in names if theirs.get(name) != environment.get(name))
    for library in ("OMP", "OPENBLAS"):
        if not request.threads(library).isdigit():
            differ.append(f"{library}_NUM_THREADS")
    return (
        f"its environment differs from the fork server's in {', '.join(differ)}" if differ else ""
    )
