"""A model of which memory holds one layer group at a time, for passes that can resume.

A pass loads the weights of one layer group after the other and runs each on all the text. Batches of
hidden states come from a file that the group before wrote. The model's own forward pass runs with all
other layers skipped, so masks, positions and windows are those of the architecture. The statistics
have the same bytes as those of a pass over the whole model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.inputs.empty_model import build_empty_dense
from rankwise.inputs.sources import check_files, model_folder
from rankwise.model.device import DTYPES
from rankwise.model.family import Family
from rankwise.model.weights import Weights
from rankwise.records.model import ModelManifest
from rankwise.statistics.hidden_states import Forward, pass_through


@dataclass(frozen=True)
class WeightFiles:
    """The weight files of a model, which must not change while a pass reads them."""

    folder: Path
    times: dict[str, tuple[int, int]]
    """Name → size [bytes] and modification time [ns] at the time its hash was checked."""

    @classmethod
    def checked(cls, manifest: ModelManifest) -> Self:
        """Return the weight files of a manifest; raises RankwiseError where a hash differs. Cost: reads them once."""
        folder = model_folder(manifest.source, manifest.revision)
        names = [file.path for file in manifest.files if file.path.endswith(".safetensors")]
        times = _times(folder, names)
        check_files(folder, manifest.files, "prepare.model")
        return cls(folder, times)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Raise RankwiseError at the end of the context if a file has changed since its hash was checked."""
        yield
        now = _times(self.folder, list(self.times))
        changed = [name for name, before in self.times.items() if now[name] != before]
        if changed:
            raise RankwiseError(
                f"{self.folder / changed[0]} was changed while the pass read it, so that its statistics would be "
                "of two models; what is finished is of the old file: run stage prepare, then this one again"
            )


def _times(folder: Path, names: list[str]) -> dict[str, tuple[int, int]]:
    """Return size [bytes] and modification time [ns] of files; (0, 0) for one that does not exist."""
    paths = {name: folder / name for name in names if (folder / name).exists()}
    stats = {name: path.stat() for name, path in paths.items()}
    none = dict.fromkeys(names, (0, 0))
    return none | {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


@dataclass(frozen=True)
class Streamed:
    """A model whose weights are loaded when a pass needs them."""

    model: Any
    """A transformers causal language model on the meta device (`empty_model`)."""
    weights: Weights
    """Index of the weight files, opened once because a sharded model has many."""
    files: WeightFiles
    device: torch.device

    @classmethod
    def of(cls, manifest: ModelManifest, device: torch.device) -> Self:
        """Return the model of a manifest; raises RankwiseError where its files are missing or have changed."""
        files = WeightFiles.checked(manifest)
        model = build_empty_dense(manifest, files.folder, DTYPES[manifest.dtype]).eval()
        weights = Weights(files.folder, manifest.family)
        return cls(model.requires_grad_(requires_grad=False), weights, files, device)

    @property
    def family(self) -> Family:
        """The model's family: where its layers and linears are."""
        return self.weights.family

    @property
    def layers(self) -> int:
        """Decoder layers [-]."""
        return len(self.model.get_submodule(self.family.layers))

    @contextmanager
    def loaded(self, names: list[str]) -> Iterator[None]:
        """Load these tensors of the model; the context's end moves them back to the meta device."""
        tensors = self._read(names)
        self._assign(tensors)
        try:
            yield
        finally:
            self._assign({name: tensor.to("meta") for name, tensor in tensors.items()})

    def ahead(self, groups: list[list[int]]) -> None:
        """Let the system prefetch the weights of the next group, if there is one, during the computation."""
        names = [name for group in groups for name in self.inside(group)]
        self.weights.ahead(names)

    def keep(self, names: list[str]) -> None:
        """Load these tensors of the model for good, as copies, so that no file stays mapped."""
        self._assign({name: tensor.clone() for name, tensor in self._read(names).items()})

    def _read(self, names: list[str]) -> dict[str, Tensor]:
        dtype = self.model.dtype
        return {name: self.weights.tensor(name).to(self.device, dtype) for name in names}

    def _assign(self, tensors: dict[str, Tensor]) -> None:
        self.model.load_state_dict(tensors, strict=False, assign=True)
        self.model.tie_weights()  # an assigned parameter is no longer tied to its twin

    def around(self) -> list[str]:
        """Return the names of all tensors of the decoder that are in no layer."""
        decoder = self.model.get_decoder()
        [name] = [name for name, module in self.model.named_modules() if module is decoder]
        inside, layers = f"{name}.", f"{self.family.layers}."
        names = list(self.model.state_dict())
        return [n for n in names if n.startswith(inside) and not n.startswith(layers)]

    def behind(self) -> list[str]:
        """Return the names of all tensors after the decoder: the head's, unless it is tied."""
        within = (*self.around(), *self.model.all_tied_weights_keys)
        layers, names = f"{self.family.layers}.", list(self.model.state_dict())
        return [name for name in names if not name.startswith(layers) and name not in within]

    def inside(self, layers: list[int]) -> list[str]:
        """Return the names of all tensors of these layers."""
        prefixes = tuple(f"{self.family.layers}.{layer}." for layer in layers)
        return [name for name in self.model.state_dict() if name.startswith(prefixes)]

    @contextmanager
    def only(self, group: list[int], before: Forward, after: Forward) -> Iterator[None]:
        """Skip the layers outside ``group`` in the model's forward pass.

        The layer before the group runs ``before`` instead, which returns hidden states. The layer
        after it runs ``after``, which receives them.
        """
        layers = list(self.model.get_submodule(self.family.layers))
        for index, layer in enumerate(layers):
            if index == group[0] - 1:
                layer.forward = before
            elif index == group[-1] + 1:
                layer.forward = after
            elif index not in group:
                layer.forward = pass_through
        try:
            yield
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)

    def weight_of(self, name: str) -> Tensor:
        """Return the weight [out, in] of a linear that is `loaded`."""
        weight: Tensor = self.model.get_submodule(name).weight
        return weight.T if self.family.transposed else weight
