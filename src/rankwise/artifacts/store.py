"""How tensors with a head are written and read: one safetensors file, whole or not at all."""

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
from rankwise.linalg.packed import Panels, Triangle

P = ParamSpec("P")
T = TypeVar("T")


def write(path: Path, schema: str, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    """Write tensors, wherever they are, under a schema's name, with a head of JSON values and every digest beside them."""
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

    ``endings`` restricts which tensors are read, by the ends of their names. Cost: the digest of every
    tensor that is read, about a second a gigabyte.
    """
    try:
        with safe_open(path, "pt") as stream:
            head = json.loads((stream.metadata() or {}).get("rankwise", "{}"))
            found = head.pop("schema", None) if isinstance(head, dict) else None
            if found != f"rankwise/{schema}":
                raise RankwiseError(
                    f"{path}: expected schema rankwise/{schema}, found {str(found)[:80]}; {repair_hint(path)}"
                )
            head = without_checksum(path, {"schema": found, **head})
            listed = head.pop("tensors", None)
            if not isinstance(listed, dict):
                raise damage_error(path, "a digest of every tensor", type(listed).__name__)
            digests = {n: d for n, d in listed.items() if n.endswith(endings)}
            names = {name for name in stream.keys() if name.endswith(endings)}  # noqa: SIM118
            if names != set(digests):
                odd = sorted(names ^ set(digests))[0]
                raise damage_error(
                    path, f"{len(digests)} tensors", f"{len(names)}, unlike in '{odd}'"
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
        if (given := _digest(tensor)) != digests[name]:
            expected = f"SHA-256 {digests[name]} of tensor '{name}'"
            raise damage_error(path, expected, given)
    del head["schema"]
    return tensors, head


def refuse_malformed(load: Callable[P, T]) -> Callable[P, T]:
    """Let a reader, whose last argument is a path, refuse what is sealed as its schema says and is something else."""

    @wraps(load)
    def refusing(*given: P.args, **named: P.kwargs) -> T:
        try:
            return load(*given, **named)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            found = f"{type(error).__name__}: {error}"[:200]
            raise damage_error(Path(str(given[-1])), "the contents of its schema", found) from error

    return refusing


def _digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a contiguous tensor: type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_on(holder: Any, device: torch.device) -> dict[str, Any]:
    """Return the tensors among an object's fields on ``device``."""
    held = Tensor | Panels | Triangle
    return {k: v.to(device) for k, v in vars(holder).items() if isinstance(v, held)}
