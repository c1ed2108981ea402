"""What is checked of a checkpoint's files before anything of it is loaded; each mistake is one sentence."""

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

SCHEMA = 3
"""Version of the section ``rankwise`` of ``config.json``."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD = re.compile(r"\w[\w.-]{0,200}\.safetensors", re.ASCII)
"""Name of a weight file: no path, nothing that a disk or a shell reads otherwise."""
IMPLEMENTATIONS = (None, "eager", "sdpa", "batched_mm", "grouped_mm")
"""Of attention and experts: those of torch and transformers themselves. Others may name code to be fetched."""


class CheckpointError(ValueError):
    """A checkpoint that is not whole, or whose files do not fit each other."""


def refuse_switches(config: Any, where: str = "config.json") -> None:
    """Refuse a configuration that chooses which code runs: kernels, quantisers, classes of other repositories."""
    if isinstance(config, list):
        for part in config:
            refuse_switches(part, where)
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        at = f"{where}, {key}"
        chosen = str(key).endswith(("attn_implementation", "experts_implementation"))
        names = list(value.values()) if chosen and isinstance(value, dict) else [value]
        if chosen and not all(
            name is None or name in IMPLEMENTATIONS for name in map(_text, names)
        ):
            raise CheckpointError(
                f"{at}: {str(value)[:80]!r} chooses the code that runs; remove the key, or give one of "
                f"{', '.join(filter(None, IMPLEMENTATIONS))}"
            )
        if key in ("quantization_config", "kernel_config", "custom_pipelines") and value:
            raise CheckpointError(
                f"{at}: a configuration that brings its own {key} is not opened; give the plain weights, without it"
            )
        if key == "auto_map" and "--" in str(value):
            raise CheckpointError(
                f"{at}: names code of another repository; remove the key, or get the model from its author"
            )
        refuse_switches(value, at)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def checked_section(section: Any, known: Container[str]) -> dict[str, Any]:
    """Return the section ``rankwise`` of config.json; refuses a schema or a model that is not known."""
    if not isinstance(section, dict) or section.get("schema") != SCHEMA:
        found = section.get("schema") if isinstance(section, dict) else section
        raise CheckpointError(
            f"config.json, rankwise.schema: expected {SCHEMA}, found {found!r}; "
            "use the version of rankwise that made the checkpoint, or build it again"
        )
    if not isinstance(section.get("model_type"), str) or section["model_type"] not in known:
        raise CheckpointError(
            f"config.json, rankwise.model_type: this transformers knows no '{section.get('model_type')}'; use a newer one"
        )
    experts = section.get("experts")
    if not isinstance(experts, list) or not all(isinstance(name, str) for name in experts):
        raise CheckpointError(
            "config.json, rankwise.experts: expected a list of module names, empty without experts"
        )
    linears = section.get("linears")
    if not isinstance(linears, dict):
        raise CheckpointError(
            "config.json, rankwise.linears: expected an object, one entry a linear"
        )
    for name, said in linears.items():
        _check_linear(name, said)
    return section


def _check_linear(name: str, said: Any) -> None:
    """Refuse an entry of ``rankwise.linears`` that describes no linear, however large its numbers."""
    where = f"config.json, rankwise.linears.{name}"
    shape = said.get("shape") if isinstance(said, dict) else None
    if not (isinstance(shape, list) and len(shape) == 2 and all(_is_count(n) for n in shape)):
        raise CheckpointError(f"{where}.shape: expected [out, in], found {shape!r}")
    rank, entries = said.get("rank"), said.get("entries", 0)
    if not _is_count(rank) or rank > min(shape):
        raise CheckpointError(f"{where}.rank: expected 1 to {min(shape)}, found {rank!r}")
    if not isinstance(entries, int) or not 0 <= entries <= shape[0] * shape[1]:
        raise CheckpointError(
            f"{where}.entries: expected 0 to {shape[0] * shape[1]}, found {entries!r}"
        )
    if not isinstance(said.get("bias"), bool):
        raise CheckpointError(f"{where}.bias: expected true or false, found {said.get('bias')!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_folder(folder: Path) -> None:
    """Refuse a folder whose weight files are missing, cut short, or do not fit config.json.

    Reads headers only; whether the bytes are those that were written is the manifest's to say.
    """
    config = _json(folder / "config.json")
    refuse_switches(config, str(folder / "config.json"))
    section = config.get("rankwise")
    linears = section.get("linears") if isinstance(section, dict) else None
    if not isinstance(linears, dict):
        raise CheckpointError(
            f"{folder}/config.json: no section rankwise with linears; fetch it again"
        )
    for name, said in linears.items():
        _check_linear(name, said)
    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as stream:
                shapes |= {name: stream.get_slice(name).get_shape() for name in stream.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); fetch or build it again"
            ) from error
    for name, said in linears.items():
        (out, columns), rank = said["shape"], said["rank"]
        expected = {f"{name}.right.weight": [rank, columns], f"{name}.left.weight": [out, rank]}
        if said.get("entries"):
            expected[f"{name}.values"] = [said["entries"]]
        for tensor, shape in expected.items():
            if shapes.get(tensor) != shape:
                raise CheckpointError(
                    f"{folder}: tensors do not fit config.json: rankwise.linears.{name} says that {tensor} is {shape}, "
                    f"the weight files hold {shapes.get(tensor, 'no such tensor')}"
                )
    _check_tokenizer(folder, config)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights: the one, or those of the index, which must all be there."""
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise CheckpointError(f"{folder} holds neither {SINGLE} nor {INDEX}; fetch it again")
        return [folder / SINGLE]
    places = _json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(
            f"{folder / INDEX}, weight_map: expected tensor names with file names"
        )
    names = sorted(set(places.values()))
    for name in names:
        if not SHARD.fullmatch(name):
            raise CheckpointError(
                f"{folder / INDEX}, weight_map: '{name[:80]}' is not the name of a safetensors file in this folder"
            )
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder / INDEX}, weight_map: {name} is missing; fetch it again"
            )
    return [folder / name for name in names]


def _check_tokenizer(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a tokenizer that has tokens of text for which the model has no embedding.

    Special tokens may lie beyond it: Gemma 3's has one for images, which its text models never see.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    tokenizer, size = _json(path), config.get("vocab_size")
    try:
        vocabulary = tokenizer.get("model", {}).get("vocab", {})
        numbers = (
            list(vocabulary.values()) if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
        )
        added = tokenizer.get("added_tokens", [])
        numbers += [token["id"] for token in added if not token.get("special")]
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected model.vocab and added_tokens as the tokenizers library writes them "
            f"({type(error).__name__}: {error}); fetch it again"
        ) from error
    if type(size) is not int or not all(type(number) is int for number in numbers):
        raise CheckpointError(
            f"{path}: tokens, and vocab_size of config.json, must be whole numbers; fetch them again"
        )
    if max(numbers, default=-1) >= size:
        raise CheckpointError(
            f"{path}: token {max(numbers)} has no embedding, config.json says vocab_size {config['vocab_size']}; "
            "the tokenizer is that of another model"
        )


def refuse_unfilled(path: Any, info: dict[str, Any]) -> None:
    """Refuse a model of which transformers found tensors missing, too many or of another shape."""
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    wrong = {
        kind.removesuffix("_keys"): sorted(map(str, info[kind])) for kind in kinds if info[kind]
    }
    if wrong:
        said = "; ".join(f"{kind} {', '.join(names[:3])}" for kind, names in wrong.items())
        raise CheckpointError(f"{path}: tensors do not fit config.json: {said}; build it again")


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing or broken file is a sentence that names it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; fetch the checkpoint again") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # no JSON, no UTF-8, numbers or depth beyond sense
        raise CheckpointError(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
