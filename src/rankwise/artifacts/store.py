"""Reads and writes tensors with a head in one safetensors file; writes are atomic."""

import errno
import hashlib
import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.files.atomic import atomic_write
from rankwise.files.checksummed import damage_error, repair_hint, with_checksum, without_checksum

P = ParamSpec("P")
T = TypeVar("T")


def write(path: Path, schema: str, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    """Write tensors from any device, with the schema's name, a head of JSON values and every tensor's digest."""
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())}
    digests = {name: _digest(tensor) for name, tensor in contiguous.items()}
    head = with_checksum({"schema": f"rankwise/{schema}", "tensors": digests, **head})
    with atomic_write(path) as temporary:
        try:
            save_file(contiguous, temporary, {"rankwise": json.dumps(head, sort_keys=True)})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error


def read(
    path: Path, schema: str, endings: tuple[str, ...] = ("",)
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors (memory-mapped) and head; raises RankwiseError for another schema or a changed file.

    It reads only the tensors whose names end in one of ``endings``. Cost: the digest of every tensor read,
    about a second a gigabyte.
    """
    try:
        with safe_open(path, "pt") as stream:
            head = json.loads((stream.metadata() or {}).get("rankwise", "{}"))
            found_schema = head.pop("schema", None) if isinstance(head, dict) else None
            if found_schema != f"rankwise/{schema}":
                raise RankwiseError(
                    f"{path}: expected schema rankwise/{schema}, found {str(found_schema)[:80]}; {repair_hint(path)}"
                )
            head = without_checksum(path, {"schema": found_schema, **head})
            tensor_digests = head.pop("tensors", None)
            if not isinstance(tensor_digests, dict):
                raise damage_error(path, "a digest of every tensor", type(tensor_digests).__name__)
            digests = {n: d for n, d in tensor_digests.items() if n.endswith(endings)}
            names = {name for name in stream.keys() if name.endswith(endings)}  # noqa: SIM118
            if names != set(digests):
                first = sorted(names ^ set(digests))[0]
                raise damage_error(
                    path, f"{len(digests)} tensors", f"{len(names)}, unlike in '{first}'"
                )
            tensors = {name: stream.get_tensor(name) for name in sorted(names)}
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; make it with: rankwise run") from error
    except OSError as error:
        raise RankwiseError(f"{path} cannot be read ({error})") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); {repair_hint(path)}"
        ) from error
    for name, tensor in tensors.items():
        if (digest := _digest(tensor)) != digests[name]:
            expected = f"SHA-256 {digests[name]} of tensor '{name}'"
            raise damage_error(path, expected, digest)
    del head["schema"]
    return tensors, head


def refuse_malformed(load: Callable[P, T]) -> Callable[P, T]:
    """Make a reader, whose last argument is a path, raise RankwiseError for contents that do not match their schema.

    Such a file has valid digests and the right schema name, but other contents.
    """

    @wraps(load)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return load(*args, **kwargs)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problem = f"{type(error).__name__}: {error}"[:200]
            raise damage_error(
                Path(str(args[-1])), "the contents of its schema", problem
            ) from error

    return wrapper


def _digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a contiguous tensor: type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
