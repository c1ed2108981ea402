"""How an input of every format is made: a valid one, changed."""

import contextlib
import gzip
import io
import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from ruamel.yaml import YAML

from rankwise.files.atomic import to_json
from rankwise.files.checksummed import to_checksummed_lines, with_checksum
from tests.conftest import tiny_llama
from tests.workflow.studies import make_tokenizer
from tools.faults.examples import RECORDS, example
from tools.faults.hostile import STRANGE, changed, mangled, put_json
from tools.faults.kinds import kinds

Make = Callable[[Random, Path], None]
"""Writes an input into a folder."""
HEADER = {
    "a.left.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
    "a.right.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [32, 64]},
}
SECTION = {
    "schema": 3, "version": "0", "run": "r", "model_type": "llama", "architecture": "LlamaForCausalLM",
    "experts": [], "linears": {"a": {"shape": [4, 4], "rank": 2, "bias": False}},
}  # fmt: skip
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "c"}]}
ITEM = {"context": "w", "choices": ["a", "b"], "gold": 0}


def yaml(*texts: str) -> Make:
    """Return what changes one of these documents, as text or as values."""
    given = [YAML(typ="safe").load(text) for text in texts]

    def make(random: Random, folder: Path) -> None:
        which = random.randrange(len(texts))
        if random.random() < 0.5:
            (folder / "a.yaml").write_bytes(mangled(texts[which].encode(), random))
        else:  # JSON is YAML
            value = json.dumps(changed(given[which], random), ensure_ascii=random.random() < 0.9)
            (folder / "a.yaml").write_bytes(value.encode("utf-8", "surrogatepass"))

    return make


def section(value: dict[str, Any]) -> Make:
    """Return what changes a section file."""
    return lambda random, folder: put_json(folder / "a.json", value, random)


def setting(random: Random, folder: Path) -> None:
    """Write what stands behind ``--set``: key path and value, or neither."""
    keys = [
        random.choice(["prepare", "runs", "a", "keep", "model", *map(str, STRANGE)])
        for _ in range(3)
    ]
    value = random.choice(
        [str(random.choice(STRANGE)), json.dumps(random.choice(STRANGE)), "[", "{a: "]
    )
    text = random.choice(
        [f"{'.'.join(keys)}={value}", f"{keys[0]}={value}", value, "=", "a=", ".=1"]
    )
    (folder / "a.txt").write_bytes(text.encode("utf-8", "surrogatepass"))


def safetensors(random: Random, folder: Path) -> None:
    text = json.dumps(changed(HEADER, random)).encode()
    length = random.choice([len(text)] * 6 + [0, 8 * 10**9, 2**63, 2**64 - 1, len(text) + 1])
    whole = struct.pack("<Q", length) + text + bytes(64)
    (folder / "model.safetensors").write_bytes(
        mangled(whole, random) if random.random() < 0.3 else whole
    )


@cache
def artifacts() -> list[tuple[dict[str, Any], bytes, Callable[[Path], Any]]]:
    """Return header, bytes behind it and reader of an artifact of tensors of every kind."""
    found = []
    with TemporaryDirectory() as folder:
        for kind in kinds():
            path = Path(folder) / kind.name
            kind.write(path)
            whole = path.read_bytes()
            if not whole.startswith(b"{"):
                end = 8 + struct.unpack("<Q", whole[:8])[0]
                found.append((json.loads(whole[8:end]), whole[end:], kind.read))
    return found


def sealed_artifact(random: Random, folder: Path) -> None:
    """Write an artifact whose head was changed by one who knows how to seal it; its number beside it."""
    number = random.randrange(len(artifacts()))
    header, rest, _ = artifacts()[number]
    head = changed(json.loads(header["__metadata__"]["rankwise"]), random)
    with contextlib.suppress(ValueError, UnicodeEncodeError):
        head = with_checksum(head) if isinstance(head, dict) else head
    text = json.dumps({**header, "__metadata__": {"rankwise": json.dumps(head)}}).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + rest)
    (folder / "kind.txt").write_text(str(number))


def record(value: dict[str, Any]) -> Make:
    """Return what changes a record and seals it anew."""

    def make(random: Random, folder: Path) -> None:
        given = changed(value, random)
        with contextlib.suppress(ValueError, UnicodeEncodeError):
            given = with_checksum(given) if isinstance(given, dict) else given
            to_json(given).encode()
        (folder / "a.json").write_bytes(json.dumps(given).encode())

    return make


@cache
def _records() -> list[dict[str, Any]]:
    found = [example(cls).model_dump(mode="json") for cls in RECORDS]
    return [{"schema": cls.schema_name, **value} for cls, value in zip(RECORDS, found, strict=True)]


def any_record(random: Random, folder: Path) -> None:
    number = random.randrange(len(RECORDS))
    record(_records()[number])(random, folder)
    (folder / "kind.txt").write_text(str(number))


def lines(rows: list[dict[str, Any]], head: dict[str, Any] | None = None) -> Make:
    """Return what changes rows and seals them anew, or changes the sealed text."""
    first = [] if head is None else [head]

    def make(random: Random, folder: Path) -> None:
        if random.random() < 0.7:
            given = changed(rows, random)
            given = given if isinstance(given, list) else [given]
            text = to_checksummed_lines([*first, *given]).encode()
        else:
            text = mangled(to_checksummed_lines([*first, *rows]).encode(), random)
        (folder / "a.jsonl").write_bytes(text)

    return make


def items(random: Random, folder: Path) -> None:
    text = "\n".join(json.dumps(changed({**ITEM, "gold": n}, random)) for n in range(3)).encode()
    (folder / "a.jsonl").write_bytes(mangled(text, random) if random.random() < 0.5 else text)


def text(random: Random, folder: Path) -> None:
    """Write a text in one of its formats; its name beside it."""
    name = random.choice(["a.txt", "a.jsonl", "a.jsonl.gz", "a.parquet"])
    rows = [changed({"text": "x é", "n": 1}, random) for _ in range(3)]
    whole = "\n".join(json.dumps(row) for row in rows).encode()
    if name.endswith(".gz"):
        whole = gzip.compress(whole, 1)
    elif name.endswith(".parquet"):
        column, values = (
            random.choice(["text", "n"]),
            random.choice([["a", "b"], [1, 2], ["a", None]]),
        )
        sink = io.BytesIO()
        parquet.write_table(pa.table({column: values}), sink)
        whole = sink.getvalue()
    (folder / name).write_bytes(mangled(whole, random) if random.random() < 0.5 else whole)
    (folder / "kind.txt").write_text(name)


def index(random: Random, folder: Path) -> None:
    (folder / "a.safetensors").touch()
    places = {"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}, "metadata": {}}
    put_json(folder / "model.safetensors.index.json", places, random)


def _weights(folder: Path) -> None:
    text = json.dumps(HEADER).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))


def checkpoint(random: Random, folder: Path) -> None:
    _weights(folder)
    put_json(folder / "config.json", {"vocab_size": 3, "rankwise": SECTION}, random)


def tokenizer(random: Random, folder: Path) -> None:
    _weights(folder)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 3, "rankwise": SECTION}))
    put_json(folder / "tokenizer.json", TOKENIZER, random)


@cache
def _foreign() -> dict[str, Any]:
    """Return the JSON files of a small foreign model by name."""
    with TemporaryDirectory() as name:
        make_tokenizer(Path(name))
        tiny_llama().config.save_pretrained(name)
        found = {path.name: json.loads(path.read_text()) for path in Path(name).glob("*.json")}
    found["config.json"]["architectures"] = ["LlamaForCausalLM"]
    return found


def foreign_model(random: Random, folder: Path) -> None:
    put_json(folder / "config.json", _foreign()["config.json"], random)


def foreign_tokenizer(random: Random, folder: Path) -> None:
    which = random.choice(["tokenizer.json", "tokenizer_config.json"])
    for name, value in _foreign().items():
        if name == which:
            put_json(folder / name, value, random)
        else:
            (folder / name).write_text(json.dumps(value))
