"""Hostile input for every parser: valid documents with random changes, seeded; only clean refusals pass.

A parser may accept an input or refuse it with its own error. Anything else, more than some seconds, or
more than some memory is a finding.
"""

import contextlib
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from ruamel.yaml import YAML

from rankwise import cli
from rankwise.allocate.problem import Trials
from rankwise.artifacts import BlockFactors
from rankwise.errors import RankwiseError
from rankwise.evaluate.task_files import read_rows, read_tasks
from rankwise.files import sealed, sealed_lines, to_json
from rankwise.hub.checks import CheckpointError, check_folder, checked_section, weight_files
from rankwise.models import SHIPPED, read_family
from rankwise.params import Compute, Evaluate
from rankwise.records import AllocationRecord, CheckpointManifest, Record, TasksManifest
from rankwise.report.study import read_trials
from rankwise.sections import read_section
from rankwise.sources import hashes
from rankwise.study import PRESETS
from rankwise.validation import load_params
from rankwise.weight_files import header
from tests.faults.tally import Tally

SECONDS = 10
"""Until one input counts as unbounded."""
MEGABYTES = 400
"""That all inputs of a parser together may add to the peak of the process."""
STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 10**12, 2**63, 1e308, -0.5, "", "x", "9" * 30, "../../x", "/etc/passwd"),
    *(".", "**", "*.jsonl", "a/../../b", "C:\\x", "\\\\host\\x"),
    *("<script>alert(1)</script>", "a\0b", "COM1", "\ud800", "é\n", "x" * 5000, [], {}, [[]], {"a": 1}),
    *([10**12, 10**12], [-1, 2], ["../x"], {"../x": 1}, "model.safetensors", "!!python/object:os.system"),
)  # fmt: skip
HEADER = {
    "a.left.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
    "a.right.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [32, 64]},
}
SECTION = {
    "schema": 3, "version": "0", "run": "r", "model_type": "llama", "architecture": "LlamaForCausalLM",
    "experts": [], "linears": {"a": {"shape": [4, 4], "rank": 2, "bias": False}},
}  # fmt: skip
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "c"}]}
TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: tiny.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
LINEAR = {
    "layer": 0, "kind": "q", "rank": 2, "shape": [4, 4], "parameters": 16, "relative_error": 0.1
}  # fmt: skip
ALLOCATION = {
    "schema": AllocationRecord.schema_name, "run": "r", "decompose": "svd", "allocate": "uniform",
    "parameters": {"floor": 0.1}, "keep_asked": 0.6, "keep_reached": 0.59, "parameters_reached": 100,
    "checkpoint_bytes_reached": None, "keep_index_free": 0.59, "linears": {"a": LINEAR}, "search": {},
}  # fmt: skip
MANIFEST = {
    "schema": CheckpointManifest.schema_name, "run": "r", "keep_asked": 0.6, "keep_reached": 0.5,
    "parameters": 9, "files": [{"path": "model.safetensors", "sha256": "0", "bytes": 3}],
}  # fmt: skip
COMMANDS = (
    "sample", "covariance", "curvature", "decompose", "allocate", "build", "refine", "evaluate",
    "speed", "report", "track", "params", "prepare", "compare", "verify",
)  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """What reads an input, and how one is made."""

    make: Callable[[Random, Path], None]
    """Writes an input into a folder."""
    read: Callable[[Path], Any]


def changed(value: Any, random: Random) -> Any:
    """Return a JSON value with one to three strange places."""
    value = deepcopy(value)
    for _ in range(random.randint(1, 3)):
        if not isinstance(value, dict | list) or not value:
            return random.choice(STRANGE)
        node, steps = value, random.randint(0, 4)
        for _ in range(steps):
            inside = node.values() if isinstance(node, dict) else node
            below = [v for v in inside if isinstance(v, dict | list) and v]
            if not below:
                break
            node = random.choice(below)
        key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        what = random.random()
        if what < 0.2:
            del node[key]
        elif what < 0.3 and isinstance(node, dict):
            node[str(random.choice(STRANGE))] = random.choice(STRANGE)
        else:
            node[key] = deepcopy(random.choice(STRANGE))
        if not node:
            break
    return value


def mangled(whole: bytes, random: Random) -> bytes:
    """Return bytes with some flipped, cut, repeated or put in."""
    found = bytearray(whole)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(found) + 1)
        what = random.randrange(5)
        if what == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif what == 1:
            del found[at : at + random.randint(1, 20)]
        elif what == 2:
            found[at:at] = random.choice([b"\0", b"[" * 2000, b"{", b"'", b"&a *a", b"\xff", b"!!"])
        elif what == 3:
            found[at:at] = found[at : at + random.randint(1, 40)]
        else:
            del found[at:]
    return bytes(found)


def _json(path: Path, value: Any, random: Random) -> None:
    """Write a changed value, sometimes with changed bytes as well."""
    text = json.dumps(changed(value, random)).encode()
    path.write_bytes(mangled(text, random) if random.random() < 0.3 else text)


def _yaml(text: str) -> Callable[[Random, Path], None]:
    given = YAML(typ="safe").load(text)

    def make(random: Random, folder: Path) -> None:
        if random.random() < 0.5:
            (folder / "a.yaml").write_bytes(mangled(text.encode(), random))
        else:  # JSON is YAML
            value = json.dumps(changed(given, random), ensure_ascii=random.random() < 0.9)
            (folder / "a.yaml").write_bytes(value.encode("utf-8", "surrogatepass"))

    return make


def _safetensors(random: Random, folder: Path) -> None:
    text = json.dumps(changed(HEADER, random)).encode()
    length = random.choice([len(text)] * 6 + [0, 8 * 10**9, 2**63, 2**64 - 1, len(text) + 1])
    whole = struct.pack("<Q", length) + text + bytes(64)
    (folder / "model.safetensors").write_bytes(
        mangled(whole, random) if random.random() < 0.3 else whole
    )


def _record(value: dict[str, Any]) -> Callable[[Random, Path], None]:
    def make(random: Random, folder: Path) -> None:
        given = changed(value, random)
        with contextlib.suppress(ValueError, UnicodeEncodeError):
            given = sealed(given) if isinstance(given, dict) else given
            to_json(given).encode()
        (folder / "a.json").write_bytes(json.dumps(given).encode())

    return make


def _rows(random: Random, folder: Path) -> None:
    rows = [{"trial": n, "objective": 1.5, "status": "ok"} for n in range(3)]
    text = sealed_lines(changed(rows, random) or [{}]).encode() if random.random() < 0.5 else b""
    (folder / "a.jsonl").write_bytes(text or mangled(sealed_lines(rows).encode(), random))


def _items(random: Random, folder: Path) -> None:
    items = [{"context": "w", "choices": ["a", "b"], "gold": n} for n in range(3)]
    lines = "\n".join(json.dumps(changed(item, random)) for item in items).encode()
    (folder / "a.jsonl").write_bytes(mangled(lines, random) if random.random() < 0.5 else lines)


def _index(random: Random, folder: Path) -> None:
    (folder / "a.safetensors").touch()
    places = {"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}, "metadata": {}}
    _json(folder / "model.safetensors.index.json", places, random)


def _checkpoint(random: Random, folder: Path) -> None:
    text = json.dumps(HEADER).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    _json(folder / "config.json", {"vocab_size": 3, "rankwise": SECTION}, random)


def _tokenizer(random: Random, folder: Path) -> None:
    text = json.dumps(HEADER).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    (folder / "config.json").write_text(json.dumps({"vocab_size": 3, "rankwise": SECTION}))
    _json(folder / "tokenizer.json", TOKENIZER, random)


def _arguments(random: Random, folder: Path) -> None:
    words = [random.choice(COMMANDS)]
    options = ["--params", "--out", "--model", "--run", "--work", "--compute", "--json", "-x", "--"]
    for _ in range(random.randint(0, 6)):
        words += [random.choice(options), str(random.choice(STRANGE))]
    (folder / "words.json").write_text(json.dumps(words))


def _command(folder: Path) -> None:
    """Call the command line in the folder; what it says is taken in."""
    words = json.loads((folder / "words.json").read_text())
    said = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        before, sys.argv = sys.argv, ["rankwise", *words]
        try:
            cli.main()
        except SystemExit as end:
            if end.code not in (0, 2):
                raise ValueError(f"exit code {end.code} of {words}") from end
        finally:
            sys.argv = before


def _load(cls: type[Record]) -> Callable[[Path], Any]:
    return lambda folder: cls.load(folder / "a.json")


def _checked(folder: Path) -> None:
    try:
        given = json.loads((folder / "config.json").read_bytes())
        section = given.get("rankwise") if isinstance(given, dict) else None
    except (ValueError, RecursionError):
        section = None  # check_folder reads the file by itself
    if section is not None:
        checked_section(section, {"llama"})
    check_folder(folder)


def _tasks(folder: Path) -> None:
    (folder / "tiny.jsonl").write_text('{"context": "w", "choices": ["a", "b"], "gold": 0}\n' * 2)
    files = hashes(folder, ("a.yaml", "tiny.jsonl"))
    read_tasks(TasksManifest(source=str(folder), files=files), None, None)


PRESET = (PRESETS / "embedded.yaml").read_text()
PARSERS = {
    "params.yaml": Parser(_yaml(PRESET), lambda f: load_params(f / "a.yaml")),
    "model family": Parser(
        _yaml((SHIPPED / "mixtral.yaml").read_text()), lambda f: read_family(f / "a.yaml")
    ),
    "section file evaluate": Parser(
        lambda r, f: _json(f / "a.json", Evaluate().model_dump(), r),
        lambda f: read_section(f / "a.json", Evaluate),
    ),
    "section file compute": Parser(
        lambda r, f: _json(f / "a.json", Compute().model_dump(), r),
        lambda f: read_section(f / "a.json", Compute),
    ),
    "config.json of a checkpoint": Parser(_checkpoint, _checked),
    "tokenizer.json": Parser(_tokenizer, check_folder),
    "safetensors header": Parser(_safetensors, lambda f: header(f / "model.safetensors")),
    "safetensors artifact": Parser(
        _safetensors, lambda f: BlockFactors.load(f / "model.safetensors")
    ),
    "shard index": Parser(_index, weight_files),
    "allocation record": Parser(_record(ALLOCATION), _load(AllocationRecord)),
    "checkpoint manifest": Parser(_record(MANIFEST), _load(CheckpointManifest)),
    "search trace": Parser(_rows, lambda f: read_trials(f / "a.jsonl")),
    "unfinished search": Parser(_rows, lambda f: Trials(f / "a.jsonl", "x")),
    "task YAML": Parser(_yaml(TASK), _tasks),
    "task JSONL": Parser(_items, lambda f: read_rows(f / "t.yaml", f / "a.jsonl", None)),
    "command line": Parser(_arguments, _command),
}


class Unbounded(BaseException):
    """An input took too long."""


@contextmanager
def bounded() -> Iterator[None]:
    """Interrupt what takes longer than an input may."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Unbounded

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, seed: int, count: int) -> Tally:
    """Hand a parser ``count`` inputs; each is accepted or cleanly refused."""
    random, parser = Random(f"{name} {seed}"), PARSERS[name]
    tally = Tally(f"input: {name}", seed)
    with tempfile.TemporaryDirectory(dir=_quick_disk()) as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            place = Path(folder) / str(number % 2)
            place.mkdir(exist_ok=True)
            parser.make(random, place)
            tally.tried += 1
            try:
                with bounded():
                    parser.read(place)
            except (RankwiseError, CheckpointError) as error:
                if len(str(error)) > 20_000:
                    tally.missed(f"{name}: a refusal of {len(str(error))} characters")
            except Unbounded:
                tally.missed(f"{name}: took more than {SECONDS} s: {_shown(place)}")
            except Exception as error:
                tally.missed(f"{name}: {type(error).__name__}: {error}: {_shown(place)}")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        if grown > MEGABYTES:
            tally.missed(f"{name}: memory grew by {grown} MB")
    return tally


def _quick_disk() -> str | None:
    """Return the folder of the memory disk, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _shown(place: Path) -> str:
    return "; ".join(f"{path.name}: {path.read_bytes()[:300]!r}" for path in place.iterdir())
