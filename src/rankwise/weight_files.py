"""The weight files of a checkpoint: their bytes before they are written, what they hold afterwards.

A safetensors file is 8 bytes, a JSON header padded to 8, and the tensors; the header's length depends on
names, shapes and the digits of all offsets, so that it is known once every rank is.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypedDict

from safetensors import SafetensorError, safe_open

from rankwise.budget.costs import Choice, Choices, Matrix, total
from rankwise.budget.spending import Budget
from rankwise.errors import RankwiseError
from rankwise.hub.places import column_bits, index_bits
from rankwise.inputs.sources import model_folder
from rankwise.records.inputs import ModelManifest

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


class Stored(NamedTuple):
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


def file_bytes(tensors: Iterable[Stored]) -> int:
    """Return the size of the safetensors file that holds these tensors [bytes]."""
    header, end = dict[str, Any](METADATA), 0
    for tensor in sorted(tensors, key=lambda t: (ORDER.index(t.dtype), t.name)):
        header |= tensor.entry(end)
        end += tensor.nbytes
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + math.ceil(length / 8) * 8 + end


def checkpoint_bytes(tensors: list[Stored]) -> int:
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


def tensors_of(name: str, matrix: Matrix, choice: Choice, dtype: str) -> list[Stored]:
    """Return the tensors of one linear, in the order of the model's state; see `rankwise.hub.linears`."""
    out, columns = matrix.shape
    if choice is None:
        bias = [Stored(f"{name}.bias", dtype, (out,))] if matrix.bias else []
        return [Stored(f"{name}.weight", dtype, (out, columns)), *bias]
    found = []
    if choice.entries:
        found.append(Stored(f"{name}.values", dtype, (choice.entries,)))
        if index_bits(matrix.shape, choice.entries)[0] == "csr":
            integer = f"I{column_bits(columns)}"
            found.append(Stored(f"{name}.rows", "I32", (out + 1,)))
            found.append(Stored(f"{name}.columns", integer, (choice.entries,)))
        else:
            found.append(Stored(f"{name}.mask", "U8", (out, math.ceil(columns / 8))))
    found.append(Stored(f"{name}.right.weight", dtype, (choice.rank, columns)))
    found.append(Stored(f"{name}.left.weight", dtype, (out, choice.rank)))
    if matrix.factored_bias:
        found.append(Stored(f"{name}.left.bias", dtype, (out,)))
    return found


@dataclass(frozen=True)
class ByteBudget(Budget):
    """A budget of bytes on disk, headers included."""

    dense: tuple[Stored, ...] = ()
    """Tensors of the dense model as a checkpoint holds them, in the order of its state."""
    dtype: str = "F32"
    """Type that the checkpoint is stored in, as headers name it."""

    loose: ClassVar[bool] = True
    """A price takes offsets to have as many digits as they can have."""

    @cached_property
    def _end(self) -> int:
        """The last offset of the dense model, which no offset exceeds [bytes]."""
        return sum(tensor.nbytes for tensor in self.dense)

    @cached_property
    def _linear(self) -> dict[str, str]:
        """Tensor of the dense model → the linear that it belongs to."""
        known = {f"{name}.{part}": name for name in self.matrices for part in ("weight", "bias")}
        return {t.name: known[t.name] for t in self.dense if t.name in known}

    @cached_property
    def _others(self) -> int:
        """The most that everything beside the linears takes [bytes]."""
        files = 1 + self._end // 10**9
        return files * FIXED + sum(self._most(t) for t in self.dense if t.name not in self._linear)

    def _most(self, tensor: Stored) -> int:
        """Return the size of a tensor and of its entry, with a comma, at the longest offsets [bytes]."""
        name, shape = json.dumps(tensor.name, ensure_ascii=False), ",".join(map(str, tensor.shape))
        offsets = 2 * len(str(self._end))
        return tensor.nbytes + len(EMPTY + name + tensor.dtype + shape) + offsets

    @property
    def numbers(self) -> float:
        """The numbers that the linears may hold, what they save being tensors alone [-]."""
        saved = self.cost(dict.fromkeys(self.matrices)) - self.limit
        return total(self.matrices) - saved / SIZES[self.dtype]

    def price(self, name: str, choice: Choice) -> int:
        """Return the most that one linear takes [bytes]."""
        return sum(map(self._most, tensors_of(name, self.matrices[name], choice, self.dtype)))

    def bound(self, choices: Choices) -> int:
        """Return the most that the files take [bytes]."""
        return self._others + super().bound(choices)

    def cost(self, choices: Choices) -> int:
        """Return what the files take [bytes]; cost: one header."""
        return checkpoint_bytes(self.layout(choices))

    def layout(self, choices: Choices) -> list[Stored]:
        """Return all tensors of the checkpoint at these choices, in the order of its state."""
        found, done = list[Stored](), set[str]()
        for tensor in self.dense:
            name = self._linear.get(tensor.name)
            if name is None:
                found.append(tensor)
            elif name not in done:
                done.add(name)
                found += tensors_of(name, self.matrices[name], choices[name], self.dtype)
        return found


def dense_tensors(manifest: ModelManifest, dtype: str) -> tuple[Stored, ...]:
    """Return the tensors that a checkpoint of the dense model would hold; ``dtype`` as headers name it.

    From an empty model, tied tensors once: nothing is read but its configuration.
    """
    from rankwise.inputs.architecture import empty_dense

    model = empty_dense(manifest, model_folder(manifest.source, manifest.revision))
    tied = model.all_tied_weights_keys
    return tuple(
        Stored(name, dtype if t.is_floating_point() else INTEGERS[str(t.dtype)], tuple(t.shape))
        for name, t in model.state_dict().items()
        if name not in tied
    )


def headers(folder: Path) -> list[Stored]:
    """Return every tensor that a checkpoint's weight files hold, from their headers."""
    from rankwise.hub.checks import weight_files

    return [tensor for path in weight_files(folder) for tensor in header(path)]


def header(path: Path) -> list[Stored]:
    """Return the tensors of one weight file, from its header; refuses a file that is not whole."""
    try:
        with safe_open(path, "np") as stream:
            parts = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118
            return [Stored(n, p.get_dtype(), tuple(p.get_shape())) for n, p in parts.items()]
    except SafetensorError as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); fetch or build it again"
        ) from error


def counted(tensors: Iterable[Stored]) -> int:
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


class Reached(TypedDict):
    """What a checkpoint came to."""

    keep_reached: float
    parameters: int
    checkpoint_bytes: int


def measure(folder: Path, linears: set[str], whole: int) -> Reached:
    """Return what the files of a checkpoint hold; ``whole`` is what its ``linears`` held when dense [-]."""
    from rankwise.hub.checks import weight_files

    tensors = headers(folder)
    inside = [t for t in tensors if linears & {t.name.rsplit(".", 1)[0], t.name.rsplit(".", 2)[0]}]
    return Reached(
        keep_reached=counted(inside) / whole,
        parameters=counted(tensors),
        checkpoint_bytes=sum(path.stat().st_size for path in weight_files(folder)),
    )
