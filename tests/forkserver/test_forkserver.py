"""A command in the fork server is what it is by itself, and never outlives what it belongs to."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rankwise.forkserver import server
from rankwise.forkserver.address import ADDRESS
from rankwise.forkserver.launch import AVAILABLE, fork_server
from rankwise.forkserver.protocol import Request, difference, interpreter, new_socket
from rankwise.workflow import engines

PACKAGE = Path(__file__).parents[2] / "src/rankwise"
BY_LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "HF_XET_HIGH_PERFORMANCE")
"""Variables that libraries set when they are imported: early in a fork, later in a new process."""
PATIENCE = 120.0
"""Until something that must happen counts as not happening [s]."""

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the fork server needs Linux")


@dataclass(frozen=True)
class Place:
    """A package whose command line is the probe, and the environment of an engine beside a server."""

    package: Path
    server: dict[str, str]

    def start(self, *arguments: object, **changes: str) -> subprocess.Popen[str]:
        path = {"PYTHONPATH": str(self.package), **self.server, **changes}
        return subprocess.Popen(
            [sys.executable, "-m", "rankwise", *map(str, arguments)],
            env=environment() | path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: object, **changes: str) -> tuple[int, str, str]:
        """Return exit code, output and errors of a command."""
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def waiting(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        """Start a command that waits; return its process and the process that waits."""
        file = folder / "pid"
        process = self.start("wait", file)
        until(file.exists)
        return process, int(file.read_text())

    @property
    def cold(self) -> "Place":
        return replace(self, server={})


def environment() -> dict[str, str]:
    """Return the environment of an engine; without pytest's own, the same from test to test."""
    given = engines.environment() | {"TORCHINDUCTOR_CACHE_DIR": "/nowhere"}
    return {name: value for name, value in given.items() if name != "PYTEST_CURRENT_TEST"}


def copy_package(folder: Path) -> Path:
    """Lay out ``folder`` so that `python -m rankwise` in it is the probe."""
    package = folder / "rankwise"
    for name in ("forkserver", "hub"):
        shutil.copytree(PACKAGE / name, package / name)
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(PACKAGE / name, package)
    shutil.copy(Path(__file__).with_name("probe.py"), package / "cli.py")
    return folder


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Tell whether a process has ended, or is only waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Place]:
    package = copy_package(folder)
    with fork_server(environment() | {"PYTHONPATH": str(package)}) as variables:
        yield Place(package, variables)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


def test_a_forked_command_is_what_a_new_process_is(place: Place) -> None:
    code, out, err = place.run("facts", "--log", "a b")
    warm, own = json.loads(out)
    cold, _ = json.loads(place.cold.run("facts", "--log", "a b")[1])
    assert (code, err) == (0, "said once\n")
    by_libraries = [warm["environment"].pop(name) for name in BY_LIBRARIES]
    assert by_libraries == ["True", "1"]
    for (
        name
    ) in BY_LIBRARIES:  # inherited, where an earlier test has loaded the libraries in this process
        cold["environment"].pop(name, None)
    assert warm == cold
    assert own["parent"] != os.getpid()  # it was forked by the server
    assert own["leader"]


def test_thread_numbers_are_the_command_s(place: Place) -> None:
    several = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    warm, own = json.loads(place.run("facts", **several)[1])
    cold, _ = json.loads(place.cold.run("facts", **several)[1])
    assert own["parent"] != os.getpid()
    assert (warm["torch"], warm["blas"]) == (cold["torch"], cold["blas"]) == (2, 2)


def test_forks_draw_other_random_numbers_and_inherit_no_thread(place: Place) -> None:
    first, second = (json.loads(place.run("facts")[1])[1] for _ in range(2))
    assert first["parent"] == second["parent"]
    assert first["threads"] == 1
    assert all(a != b for a, b in zip(first["drawn"], second["drawn"], strict=True))


@pytest.mark.parametrize(
    ("how", "code"), [("done", 0), ("refuse", 2), ("sentence", 1), ("fail", 1), ("die", 137)]
)
def test_ends_as_by_itself(place: Place, how: str, code: int) -> None:
    warm, cold = place.run(how), place.cold.run(how)
    assert warm[0] == code
    if how == "die":
        assert cold[0] == -signal.SIGKILL
        assert warm[1:] == ("", "rankwise: this command was ended by signal 9 (Killed)\n")
    elif how == "fail":
        assert warm[2].splitlines()[-1] == cold[2].splitlines()[-1] == "ValueError: a mistake"
    else:
        assert warm == cold


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(place: Place, tmp_path: Path, number: signal.Signals) -> None:
    process, pid = place.waiting(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert gone(pid)
    assert process.returncode == 128 + number
    assert (tmp_path / "cleaned").exists() == (number == signal.SIGINT)


def test_a_killed_client_takes_its_command_with_it(place: Place, tmp_path: Path) -> None:
    process, pid = place.waiting(tmp_path)
    process.kill()
    process.communicate(timeout=PATIENCE)  # ends when nobody holds the command's output open
    until(lambda: gone(pid))
    assert place.run("word")[0] == 0


def test_an_edited_module_counts_at_once(place: Place) -> None:
    assert place.run("word")[1] == "first\n"
    module = place.package / "rankwise/cli.py"
    module.write_text(module.read_text().replace('WORD = "first"', 'WORD = "second"'))
    try:
        assert place.run("word") == (0, "second\n", "")
    finally:
        module.write_text(module.read_text().replace('WORD = "second"', 'WORD = "first"'))


def test_another_package_or_environment_is_not_served(place: Place, tmp_path: Path) -> None:
    other = replace(place, package=copy_package(tmp_path))
    _, out, err = other.run("facts")
    assert "its Python differs from the fork server's in 'path'" in err
    said, own = json.loads(out)
    assert Path(said["package"]).parent == tmp_path / "rankwise"
    assert own["parent"] == os.getpid()
    _, out, err = place.run("facts", HF_HOME="/elsewhere")
    assert "its environment differs from the fork server's in HF_HOME" in err
    assert json.loads(out)[0]["environment"]["HF_HOME"] == "/elsewhere"


def test_what_makes_a_server_stale() -> None:
    request, here = Request.here(["rankwise"]), interpreter()
    ours = dict(os.environ)
    assert difference(request, here, ours) == ""
    for name, value in here.items():
        newer = dict.fromkeys(value, 0) if isinstance(value, dict) else [*value, "more"]
        assert f"'{name}'" in difference(request, here | {name: newer}, ours)
    odd = replace(request, environment=ours | {"OMP_NUM_THREADS": "2,1"})
    assert "OMP_NUM_THREADS" in difference(odd, here, ours)
    assert "NEW" in difference(request, here, ours | {"NEW": "1"})


def test_no_fork_beside_a_thread() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert "threads" in server._threads()
    stop.set()
    thread.join()


def test_only_this_user_comes_in(place: Place) -> None:
    """The folder is closed to others; who comes in all the same is known by the kernel's word."""
    address = Path(place.server[ADDRESS])
    assert address.parent.stat().st_mode & 0o777 == 0o700
    if os.getuid() != 0:
        pytest.skip("only root can ask as another user")
    script = (
        "import os, socket, sys\n"
        "with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:\n"
        "    os.seteuid(int(sys.argv[2]))\n"
        "    client.connect(sys.argv[1])\n"
        "    try:\n"
        "        client.send(b'{}')\n"
        "        print(client.recv(1000))\n"
        "    except ConnectionError:\n"
        "        print(b'')\n"
    )

    def ask(user: int) -> str:
        command = [sys.executable, "-c", script, str(address), str(user)]
        asked = subprocess.run(command, text=True, capture_output=True, check=False)
        return asked.stdout + asked.stderr

    assert "could not fork" in ask(0)
    assert "PermissionError" in ask(65534)
    for path in (address.parent, address):
        path.chmod(0o777)
    assert ask(65534) == "b''\n"
    address.parent.chmod(0o700)


def test_a_killed_server_fails_its_commands_and_later_ones_start_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path / "served") as place:
        process, pid = place.waiting(tmp_path)
        os.kill(_parent_of(pid), signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert err == "rankwise: the fork server ended while it ran this command; run it again\n"
        until(lambda: gone(pid))
        code, out, err = place.run("word")
        assert (code, out) == (0, "first\n")
        assert "this command starts by itself: no fork server to be had" in err
    assert "The fork server ended early, with exit code -9" in capsys.readouterr().err
    assert not Path(place.server[ADDRESS]).parent.exists()


def test_a_client_killed_before_it_asked_is_not_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was refused: the end of a run that was stopped says nothing of it."""
    with serving(tmp_path / "served") as place:
        with new_socket() as client:
            client.connect(place.server[ADDRESS])
        assert place.run("word") == (0, "first\n", "")
    assert capsys.readouterr().err == ""


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_nothing_is_left_running(tmp_path: Path, how: str) -> None:
    """The server and its commands end with their starter, by its own hand or by the kernel's."""
    package = copy_package(tmp_path / "served")
    script = (
        "import os, sys, subprocess\n"
        "from rankwise.workflow import engines\n"
        "from rankwise.forkserver.launch import fork_server\n"
        "env = engines.environment() | {'PYTHONPATH': sys.argv[1]}\n"
        "with fork_server(env) as variables:\n"
        "    subprocess.Popen([sys.executable, '-m', 'rankwise', 'wait', sys.argv[2]], env=env | variables)\n"
        "    sys.stdin.read()\n"
    )
    file = tmp_path / "pid"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(package), str(file)],
        env=environment() | {"TMPDIR": str(tmp_path)},  # a killed starter leaves its folder
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    until(file.exists)
    pid = int(file.read_text())
    served_by = _parent_of(pid)
    if how == "kill":
        starter.kill()
    starter.communicate(timeout=PATIENCE)
    until(lambda: gone(pid) and gone(served_by))
