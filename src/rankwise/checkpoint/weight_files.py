"""Weight files of a checkpoint: their size before they are written, and their contents afterwards.

A safetensors file is 8 bytes, a JSON header padded to 8, and the tensors. The header's length depends on
names, shapes and the digits of all offsets; it is known as soon as every rank is known.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from safetensors import SafetensorError, safe_open

from rankwise.errors import RankwiseError

SIZES = {"I64": 8, "F64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2, "U8": 1, "BOOL": 1}
"""Name of a type in the header → its size [bytes], in the order of tensors in a file."""
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
INTEGERS = {"torch.int64": "I64", "torch.int32": "I32", "torch.uint8": "U8", "torch.bool": "BOOL"}
ORDER = list(SIZES)
SHARD_SIZE = "5GB"
"""Largest size of one file of a checkpoint, unless a single tensor is larger."""
METADATA = {"__metadata__": {"format": "pt"}}
EMPTY = ':{"dtype":"","shape":[],"data_offsets":[,]},'
"""A header entry without name, type, shape and offsets."""
FIXED = 8 + len(json.dumps(METADATA, separators=(",", ":"))) + 7
"""Upper bound of the size of a file without header entries and tensors [bytes]."""


class StoredTensor(NamedTuple):
    """One tensor of a weight file."""

    name: str
    dtype: str
    """Name of the type in the header."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the tensor itself [bytes]."""
        return math.prod(self.shape) * SIZES[self.dtype]

    def entry(self, begin: int) -> dict[str, Any]:
        """Return the tensor's entry in a header."""
        offsets = [begin, begin + self.nbytes]
        return {self.name: {"dtype": self.dtype, "shape": self.shape, "data_offsets": offsets}}


def file_bytes(tensors: Iterable[StoredTensor]) -> int:
    """Return the size of the safetensors file that holds these tensors [bytes]."""
    header, end = dict[str, Any](METADATA), 0
    for tensor in sorted(tensors, key=lambda t: (ORDER.index(t.dtype), t.name)):
        header |= tensor.entry(end)
        end += tensor.nbytes
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + math.ceil(length / 8) * 8 + end


def checkpoint_bytes(tensors: list[StoredTensor]) -> int:
    """Return the size of all weight files of a checkpoint, with the split of `save_checkpoint` [bytes]."""
    from huggingface_hub import split_state_dict_into_shards_factory

    by_name = {tensor.name: tensor for tensor in tensors}
    split = split_state_dict_into_shards_factory(
        by_name,
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="{suffix}",
        max_shard_size=SHARD_SIZE,
    )
    return sum(
        file_bytes(by_name[name] for name in names) for names in split.filename_to_tensors.values()
    )


def read_headers(folder: Path) -> list[StoredTensor]:
    """Return every tensor of a checkpoint's weight files, from their headers."""
    from rankwise.hub.checks import weight_files

    return [tensor for path in weight_files(folder) for tensor in read_header(path)]


def read_header(path: Path) -> list[StoredTensor]:
    """Return the tensors of one weight file, from its header; raises RankwiseError for a truncated file."""
    try:
        with safe_open(path, "np") as stream:
            parts = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118
            return [StoredTensor(n, p.get_dtype(), tuple(p.get_shape())) for n, p in parts.items()]
    except SafetensorError as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); fetch or build it again"
        ) from error


def count_parameters(tensors: Iterable[StoredTensor]) -> int:
    """Return the number of parameters; indices of nonzeros count by their bytes, in numbers of their values' size."""
    numbers, index_bytes, sizes = 0, dict[str, int](), dict[str, int]()
    for tensor in tensors:
        linear, _, part = tensor.name.rpartition(".")
        if part in ("rows", "columns", "mask"):
            index_bytes[linear] = index_bytes.get(linear, 0) + tensor.nbytes
        else:
            numbers += math.prod(tensor.shape)
        if part == "values":
            sizes[linear] = SIZES[tensor.dtype]
    return numbers + sum(math.ceil(index_bytes[linear] / sizes[linear]) for linear in index_bytes)


class CheckpointSize(TypedDict):
    """Size of a checkpoint: share of parameters that remain, parameters, bytes."""

    keep_reached: float
    parameters: int
    checkpoint_bytes: int


def count_checkpoint(folder: Path, linears: set[str], dense_numbers: int) -> CheckpointSize:
    """Return the size of a checkpoint; ``dense_numbers`` is the size of its ``linears`` before compression [-]."""
    from rankwise.hub.checks import weight_files

    tensors = read_headers(folder)
    inside = [t for t in tensors if linears & {t.name.rsplit(".", 1)[0], t.name.rsplit(".", 2)[0]}]
    return CheckpointSize(
        keep_reached=count_parameters(inside) / dense_numbers,
        parameters=count_parameters(tensors),
        checkpoint_bytes=sum(path.stat().st_size for path in weight_files(folder)),
    )
