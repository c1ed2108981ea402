"""How tensors with a head are written and read: one safetensors file, whole or not at all."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.files import replacing


def write(path: Path, schema: str, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    """Write tensors under a schema's name, with a head of JSON values beside them."""
    head = {"schema": f"rankwise/{schema}", **head}
    contiguous = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, {"rankwise": json.dumps(head, sort_keys=True)})


def read(
    path: Path, schema: str, endings: tuple[str, ...] = ("",)
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors (memory-mapped) and head; raises RankwiseError for another schema or a broken file.

    ``endings`` restricts which tensors are read, by the ends of their names.
    """
    try:
        with safe_open(path, "pt") as stream:
            head = json.loads((stream.metadata() or {}).get("rankwise", "{}"))
            found = head.pop("schema", None)
            if found != f"rankwise/{schema}":
                raise RankwiseError(
                    f"{path}: expected schema rankwise/{schema}, found {found}; run the stage that makes it"
                )
            names = [name for name in stream.keys() if name.endswith(endings)]  # noqa: SIM118
            return {name: stream.get_tensor(name) for name in names}, head
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; run the stage that makes it") from error
    except SafetensorError as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); delete it and run its stage again"
        ) from error


def moved(holder: Any, device: torch.device) -> dict[str, Any]:
    """Return the tensors among an object's fields on ``device``."""
    return {k: v.to(device) for k, v in vars(holder).items() if isinstance(v, Tensor)}


def packed(matrix: Tensor) -> Tensor:
    """Return the upper triangle of a symmetric ``matrix`` [d, d], row by row [d·(d + 1)/2]."""
    return torch.cat([row[at:] for at, row in enumerate(matrix)])


def unpacked(triangle: Tensor) -> Tensor:
    """Return the symmetric matrix [d, d] of a triangle that `packed` made."""
    width = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    matrix = triangle.new_empty(width, width)
    for at, part in enumerate(triangle.split(list(range(width, 0, -1)))):
        matrix[at, at:] = part
        matrix[at:, at] = part
    return matrix
