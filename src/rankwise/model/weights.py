"""Weights of a model folder, read one at a time, for every naming and layout of its files."""

import json
import os
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.model.family import Family

Part = tuple[str, int | None]
"""Name of a tensor and, if it holds all experts of a layer, the number of one expert."""


class Weights:
    """Reader of weight [out, in] and bias [out] of linears by module name."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder, self.family = folder, family
        self.where: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as stream:
                    self.where |= dict.fromkeys(stream.keys(), path)
            except SafetensorError as error:
                raise RankwiseError(
                    f"{path} is not a whole safetensors file ({error}); fetch it again"
                ) from error

    def get(self, linear: str) -> Tensor:
        """Return a weight [out, in]; raises RankwiseError if the files hold none."""
        weight = self._join(self._weight_parts(linear))
        return weight.T.contiguous() if self.family.transposed else weight

    def tensor(self, name: str) -> Tensor:
        """Return any tensor by its name in the model's state with separate experts, in the module's layout."""
        return self._join(self._find_parts(name))

    def ahead(self, names: list[str]) -> None:
        """Prefetch the bytes of these tensors in the background; returns immediately."""
        for path, parts in groupby(
            (p for name in names for p in self._find_parts(name)), self._path
        ):
            offsets = spans(path)
            with path.open("rb") as stream:
                for name, _ in parts:
                    begin, end = offsets[name]
                    os.posix_fadvise(stream.fileno(), begin, end - begin, os.POSIX_FADV_WILLNEED)

    def _path(self, part: Part) -> Path:
        return self.where[part[0]]

    def _find_parts(self, name: str) -> list[Part]:
        """Return the parts of the files that hold a tensor of the model's state."""
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and owner.startswith(f"{self.family.layers}."):
            return self._weight_parts(owner)
        names = [name, name.partition(".")[2]]
        if not name.startswith(self.family.layers.partition(".")[0]):  # after the decoder
            names += [f"{head}.{kind}" for head in self.family.head]
        stored_name = next((n for n in names if n in self.where), None)
        if stored_name is None:
            raise RankwiseError(f"{self.folder}: the weight files hold no tensor '{name}'")
        return [(stored_name, None)]

    def bias(self, linear: str) -> Tensor | None:
        """Return a bias [out], None for a linear that has none."""
        name = self._bias_name(linear)
        return None if name is None else self._read((name, None))

    def has_bias(self, linear: str) -> bool:
        """Tell whether a linear has a bias."""
        return self._bias_name(linear) is not None

    def shape(self, linear: str) -> tuple[int, int]:
        """Return a weight's shape [out, in] from the files' headers."""
        shapes = []
        for name, number in self._weight_parts(linear):
            with safe_open(self.where[name], "pt") as stream:
                shape = stream.get_slice(name).get_shape()
            shapes.append(shape if number is None else shape[1:])
        rows, columns = sum(shape[0] for shape in shapes), shapes[0][1]
        return (columns, rows) if self.family.transposed else (rows, columns)

    def numbers(self, linear: str) -> int:
        """Return how many numbers weight and bias hold."""
        out, columns = self.shape(linear)
        return out * columns + (out if self.has_bias(linear) else 0)

    def _join(self, parts: list[Part]) -> Tensor:
        tensors = [self._read(part) for part in parts]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def _weight_parts(self, linear: str) -> list[Part]:
        layouts = self.family.in_files(linear)
        for layout in layouts:
            if all(name in self.where for name, _ in layout):
                return layout
        tried = ", ".join(" + ".join(name for name, _ in layout) for layout in layouts)
        raise RankwiseError(
            f"{self.folder}: the weight files hold no weight for '{linear}' (looked for {tried}); "
            "check the files, or the family's layers, sites and 'stored'"
        )

    def _bias_name(self, linear: str) -> str | None:
        names = (f"{linear}.bias", f"{linear.partition('.')[2]}.bias")
        return next((name for name in names if name in self.where), None)

    def _read(self, part: Part) -> Tensor:
        name, number = part
        with safe_open(self._path(part), "pt") as stream:
            if number is None:
                return stream.get_tensor(name)
            tensor: Tensor = stream.get_slice(name)[number]
            return tensor


def spans(path: Path) -> dict[str, tuple[int, int]]:
    """Return the first byte of every tensor in a safetensors file, and the byte after its last."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    begin = 8 + length
    return {
        name: (begin + entry["data_offsets"][0], begin + entry["data_offsets"][1])
        for name, entry in header.items()
    }
