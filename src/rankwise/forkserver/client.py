"""Hands a command to the fork server. Only light imports: this is all that a job's process loads."""

import os
import signal
import socket
import sys
from types import FrameType

from rankwise.forkserver.address import ADDRESS
from rankwise.forkserver.protocol import Request, new_socket, receive, send

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(arguments: list[str]) -> int | None:
    """Have the fork server run a command; return its exit code, or None if it has to run here.

    The command ends with this process: signals are passed on, and the server kills it when the
    connection closes. A server that ends half-way is a failure rather than a reason to start again
    here: engines know how to clear up after a failed job.
    """
    with new_socket() as connection:
        try:
            connection.connect(os.environ[ADDRESS])
            socket.send_fds(connection, [Request.here(arguments).encode()], [0, 1, 2])
            answer = receive(connection)
        except OSError as error:
            answer = {"refused": f"no fork server to be had ({error})"}
        if "accepted" not in answer:
            _say(f"this command starts by itself: {answer.get('refused', 'the fork server ended')}")
            return None

        def forward(number: int, _: FrameType | None) -> None:
            send(connection, signal=number)

        for number in FORWARDED:
            signal.signal(number, forward)
        status = receive(connection).get("status")
    if status is None:
        _say("the fork server ended while it ran this command; run it again")
        return 1
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    _say(f"this command was ended by signal {-code} ({signal.strsignal(-code)})")
    return 128 - code


def _say(sentence: str) -> None:
    print(f"rankwise: {sentence}", file=sys.stderr)  # noqa: T201
