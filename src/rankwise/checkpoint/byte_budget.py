"""A budget in bytes of the weight files, computed before they are written."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from rankwise.budget.costs import Choice, Choices, Matrix, total
from rankwise.budget.spending import Budget
from rankwise.checkpoint.weight_files import (
    EMPTY,
    FIXED,
    INTEGERS,
    SIZES,
    StoredTensor,
    checkpoint_bytes,
)
from rankwise.hub.places import column_bits, index_bits
from rankwise.inputs.sources import model_folder
from rankwise.records.model import ModelManifest


def linear_tensors(name: str, matrix: Matrix, choice: Choice, dtype: str) -> list[StoredTensor]:
    """Return the tensors of one linear, in the order of the model's state; see `rankwise.hub.linears`."""
    out, columns = matrix.shape
    if choice is None:
        bias = [StoredTensor(f"{name}.bias", dtype, (out,))] if matrix.bias else []
        return [StoredTensor(f"{name}.weight", dtype, (out, columns)), *bias]
    tensors = []
    if choice.entries:
        tensors.append(StoredTensor(f"{name}.values", dtype, (choice.entries,)))
        if index_bits(matrix.shape, choice.entries)[0] == "csr":
            integer = f"I{column_bits(columns)}"
            tensors.append(StoredTensor(f"{name}.rows", "I32", (out + 1,)))
            tensors.append(StoredTensor(f"{name}.columns", integer, (choice.entries,)))
        else:
            tensors.append(StoredTensor(f"{name}.mask", "U8", (out, math.ceil(columns / 8))))
    tensors.append(StoredTensor(f"{name}.right.weight", dtype, (choice.rank, columns)))
    tensors.append(StoredTensor(f"{name}.left.weight", dtype, (out, choice.rank)))
    if matrix.factored_bias:
        tensors.append(StoredTensor(f"{name}.left.bias", dtype, (out,)))
    return tensors


@dataclass(frozen=True)
class ByteBudget(Budget):
    """A budget of bytes on disk, headers included."""

    dense: tuple[StoredTensor, ...] = ()
    """Tensors of the dense model as a checkpoint stores them, in the order of its state."""
    dtype: str = "F32"
    """Type of the checkpoint's tensors, by its name in headers."""

    loose: ClassVar[bool] = True
    """A price is an upper bound: it counts the most digits that offsets can have."""

    @cached_property
    def _end(self) -> int:
        """Last offset of the dense model, an upper bound of every offset [bytes]."""
        return sum(tensor.nbytes for tensor in self.dense)

    @cached_property
    def _linear(self) -> dict[str, str]:
        """Tensor of the dense model → its linear."""
        known = {f"{name}.{part}": name for name in self.matrices for part in ("weight", "bias")}
        return {t.name: known[t.name] for t in self.dense if t.name in known}

    @cached_property
    def _others(self) -> int:
        """Upper bound of the size of everything except the linears [bytes]."""
        files = 1 + self._end // 10**9
        return files * FIXED + sum(
            self._bound_tensor(t) for t in self.dense if t.name not in self._linear
        )

    def _bound_tensor(self, tensor: StoredTensor) -> int:
        """Return the size of a tensor and of its header entry, with a comma, at the longest offsets [bytes]."""
        name, shape = json.dumps(tensor.name, ensure_ascii=False), ",".join(map(str, tensor.shape))
        offsets = 2 * len(str(self._end))
        return tensor.nbytes + len(EMPTY + name + tensor.dtype + shape) + offsets

    @property
    def numbers(self) -> float:
        """Numbers that the linears may hold, if all savings are in tensors and none in headers [-]."""
        saved = self.cost(dict.fromkeys(self.matrices)) - self.limit
        return total(self.matrices) - saved / SIZES[self.dtype]

    def price(self, name: str, choice: Choice) -> int:
        """Return an upper bound of the size of one linear [bytes]."""
        return sum(
            map(self._bound_tensor, linear_tensors(name, self.matrices[name], choice, self.dtype))
        )

    def bound(self, choices: Choices) -> int:
        """Return an upper bound of the size of the files [bytes]."""
        return self._others + super().bound(choices)

    def cost(self, choices: Choices) -> int:
        """Return the size of the files [bytes]; cost: one header."""
        return checkpoint_bytes(self.layout(choices))

    def layout(self, choices: Choices) -> list[StoredTensor]:
        """Return all tensors of the checkpoint at these choices, in the order of its state."""
        tensors, added = list[StoredTensor](), set[str]()
        for tensor in self.dense:
            name = self._linear.get(tensor.name)
            if name is None:
                tensors.append(tensor)
            elif name not in added:
                added.add(name)
                tensors += linear_tensors(name, self.matrices[name], choices[name], self.dtype)
        return tensors


def dense_tensors(manifest: ModelManifest, dtype: str) -> tuple[StoredTensor, ...]:
    """Return the tensors of a checkpoint of the dense model; ``dtype`` is its name in headers.

    Builds the model without weights, tied tensors once; reads only the configuration.
    """
    from rankwise.inputs.empty_model import build_empty_dense

    model = build_empty_dense(manifest, model_folder(manifest.source, manifest.revision))
    tied = model.all_tied_weights_keys
    return tuple(
        StoredTensor(
            name, dtype if t.is_floating_point() else INTEGERS[str(t.dtype)], tuple(t.shape)
        )
        for name, t in model.state_dict().items()
        if name not in tied
    )
