"""The weight files of a checkpoint: their bytes before they are written, what they hold afterwards.

A safetensors file is 8 bytes, a JSON header padded to 8, and the tensors; the header's length depends on
names, shapes and the digits of all offsets, so that it is known once every rank is.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from safetensors import SafetensorError, safe_open

from rankwise.errors import RankwiseError

SIZES = {"I64": 8, "F64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2, "U8": 1, "BOOL": 1}
"""Types by their names in the header, in the order in which a file holds them, and their sizes [bytes]."""
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
INTEGERS = {"torch.int64": "I64", "torch.int32": "I32", "torch.uint8": "U8", "torch.bool": "BOOL"}
ORDER = list(SIZES)
SHARD_SIZE = "5GB"
"""Most that one file of a checkpoint holds, unless a tensor is larger."""
METADATA = {"__metadata__": {"format": "pt"}}
EMPTY = ':{"dtype":"","shape":[],"data_offsets":[,]},'
"""An entry without name, type, shape and offsets."""
FIXED = 8 + len(json.dumps(METADATA, separators=(",", ":"))) + 7
"""What a file takes beside entries and tensors, at most [bytes]."""


class StoredTensor(NamedTuple):
    """One tensor of a weight file."""

    name: str
    dtype: str
    """As the header names it."""
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
    """Return the size of all weight files of a checkpoint, split as they are when saved [bytes]."""
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
    """Return every tensor that a checkpoint's weight files hold, from their headers."""
    from rankwise.hub.checks import weight_files

    return [tensor for path in weight_files(folder) for tensor in read_header(path)]


def read_header(path: Path) -> list[StoredTensor]:
    """Return the tensors of one weight file, from its header; refuses a file that is not whole."""
    try:
        with safe_open(path, "np") as stream:
            parts = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118
            return [StoredTensor(n, p.get_dtype(), tuple(p.get_shape())) for n, p in parts.items()]
    except SafetensorError as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); fetch or build it again"
        ) from error


def count_parameters(tensors: Iterable[StoredTensor]) -> int:
    """Return the numbers in these tensors, the places of sparse entries in numbers of their values' size."""
    numbers, places, sizes = 0, dict[str, int](), dict[str, int]()
    for tensor in tensors:
        linear, _, part = tensor.name.rpartition(".")
        if part in ("rows", "columns", "mask"):
            places[linear] = places.get(linear, 0) + tensor.nbytes
        else:
            numbers += math.prod(tensor.shape)
        if part == "values":
            sizes[linear] = SIZES[tensor.dtype]
    return numbers + sum(math.ceil(places[linear] / sizes[linear]) for linear in places)


class CheckpointSize(TypedDict):
    """What a checkpoint came to."""

    keep_reached: float
    parameters: int
    checkpoint_bytes: int


def count_checkpoint(folder: Path, linears: set[str], whole: int) -> CheckpointSize:
    """Return what the files of a checkpoint hold; ``whole`` is what its ``linears`` held when dense [-]."""
    from rankwise.hub.checks import weight_files

    tensors = read_headers(folder)
    inside = [t for t in tensors if linears & {t.name.rsplit(".", 1)[0], t.name.rsplit(".", 2)[0]}]
    return CheckpointSize(
        keep_reached=count_parameters(inside) / whole,
        parameters=count_parameters(tensors),
        checkpoint_bytes=sum(path.stat().st_size for path in weight_files(folder)),
    )
