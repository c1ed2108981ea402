"""Who works on a study: one ``rankwise run`` at a time, one engine at a time.

``rankwise run`` holds a lock of the kernel's, which ends with the last process that has it open: it is
handed to the engine, so that an engine that outlives a killed ``rankwise run`` still counts. What
engines hold by themselves is asked of their own marks: Snakemake's in ``.snakemake/locks``, DVC's in
``.dvc/tmp/rwlock``.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rankwise.errors import RankwiseError

LOCK = Path(".snakemake/rankwise.lock")
OF_SNAKEMAKE = Path(".snakemake/locks")
OF_DVC = Path(".dvc/tmp/rwlock")
RECORD = Path("dvc.lock")


@contextmanager
def hold_study(command: str) -> Iterator[int]:
    """Hold the study in the working directory; yield the open file to hand to an engine.

    Raises RankwiseError that names the holder if there is one. Marks that a killed ``rankwise run``
    left of its engine are removed.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use_error(_read_holder(stream) or "another rankwise run") from error
        except OSError as error:
            raise RankwiseError(f"{LOCK} cannot be locked ({error.strerror})") from error
        _clear_up(killed=_read_holder(stream))
        _write_holder(stream, f"'{command}', process {os.getpid()} on {socket.gethostname()}")
        try:
            yield stream.fileno()
        finally:
            _write_holder(stream, "")


def refuse_other_engine() -> None:
    """Refuse to work for one engine while the other works on the study in the working directory."""
    if "DVC_STAGE" in os.environ:
        if any(OF_SNAKEMAKE.glob("*.lock")):
            raise _in_use_error(_snakemake() or "snakemake (if none runs: snakemake --unlock)")
        return
    for pid, command in _dvc_writers():
        if _process_exists(pid):
            raise _in_use_error(f"'{command}', process {pid}")


def _in_use_error(holder: str) -> RankwiseError:
    return RankwiseError(
        f"{Path.cwd()} is in use by {holder}; wait until that ends, or stop it, then run the same again"
    )


def _clear_up(killed: str) -> None:
    """Remove what an engine left when it was killed; refuse where one may be at work."""
    marks = list(OF_SNAKEMAKE.glob("*.lock"))
    if marks:
        running = _snakemake()
        if running:
            raise _in_use_error(running)
        if not killed:
            raise RankwiseError(
                f"{Path.cwd() / OF_SNAKEMAKE}: a snakemake works on this study, or was killed; "
                "if none runs, on no machine: snakemake --unlock"
            )
        for mark in marks:
            mark.unlink()
    if killed:
        _drop_half_written()


def _drop_half_written() -> None:
    """Remove DVC's own files if it was killed while it wrote them.

    Nothing is lost with them: what dvc.lock said of finished stages is in DVC's run cache as well.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if OF_DVC.exists():
        try:
            json.loads(OF_DVC.read_text(encoding="utf-8"))
        except ValueError:
            OF_DVC.unlink()
    if RECORD.exists():
        try:
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(RECORD.read_text(encoding="utf-8")))
        except (YAMLError, Invalid):
            RECORD.unlink()


def _snakemake() -> str:
    """Return the Snakemake that holds the working directory on this machine, empty if none does.

    One that runs a job of another Snakemake's on a node holds no lock.
    """
    here = Path.cwd().resolve()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            named = any(Path(word).name == "snakemake" for word in words[:3])
            if named and "--nolock" not in words and (process / "cwd").resolve() == here:
                return f"snakemake, process {process.name}"
    return ""


def _dvc_writers() -> list[tuple[int, str]]:
    """Return process and command of everyone who DVC says writes to this study."""
    try:
        marks: dict[str, Any] = json.loads(OF_DVC.read_text(encoding="utf-8"))["write"]
        return [(int(mark["pid"]), str(mark["cmd"])) for mark in marks.values() if mark]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # no DVC, or its file is being written


def _process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _read_holder(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read().strip()


def _write_holder(stream: IO[str], text: str) -> None:
    stream.truncate(0)
    stream.write(text)
    stream.flush()
