"""The covariance pass of a model that is never whole in memory, and that goes on where it was stopped.

One block of layers after the other has its weights read and sees all the text: batches of hidden states
come from a file that the block before wrote. The model's own forward pass makes them what they are, with
all other layers standing aside, so that masks, positions and windows are those of the architecture
whatever they are; statistics have the bytes of a pass over the whole model.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.compute import DTYPES
from rankwise.covariance import Pools, gather, pool_by_pool
from rankwise.errors import RankwiseError
from rankwise.family import Family
from rankwise.files import read_json, sha256, to_json, write_json
from rankwise.hub.experts import separate
from rankwise.models.reading import empty_model
from rankwise.params import CovarianceParams
from rankwise.records import FileHash, ModelManifest
from rankwise.states import States
from rankwise.weights import Weights

log = logging.getLogger("rankwise.streaming")


def empty(manifest: ModelManifest, folder: Path) -> Any:
    """Return the dense model in evaluation mode without weights, experts apart."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model = empty_model(config, DTYPES[manifest.dtype])
    separate(model, manifest.family.fused(range(manifest.layers)))
    return model.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class WeightFiles:
    """The weight files of a model, which must stay as they are while a pass reads them."""

    folder: Path
    files: list[FileHash]

    def verify(self) -> None:
        """Refuse files that are not those of the manifest, by their hashes. Cost: reads them once."""
        for file in self.files:
            if sha256(self.folder / file.path) != file.sha256:
                raise RankwiseError(
                    f"{self.folder / file.path} is not the file of the model's manifest (its SHA-256 differs); "
                    "run stage prepare again"
                )

    def times(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change of every file."""
        found = {file.path: (self.folder / file.path).stat() for file in self.files}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    @contextmanager
    def unchanged(self, before: dict[str, tuple[int, int]]) -> Iterator[None]:
        """Refuse what was read inside if a file is another one than ``before``."""
        yield
        changed = [path for path, now in self.times().items() if now != before[path]]
        if changed:
            raise RankwiseError(
                f"{self.folder / changed[0]} was changed while the covariance pass read it, so that its statistics would be "
                "of two models; what is finished is of the old file: run stage prepare, then covariance again"
            )


@dataclass(frozen=True)
class Streamed:
    """A model whose weights are read when they are needed."""

    model: Any
    """A transformers causal language model on the meta device (`empty_model`)."""
    family: Family
    files: WeightFiles
    device: torch.device

    @contextmanager
    def loaded(self, names: list[str]) -> Iterator[None]:
        """Hold these tensors of the model; they go back to the meta device afterwards."""
        weights = Weights(self.files.folder, self.family)
        dtype = self.model.dtype
        given = {name: weights.tensor(name).to(self.device, dtype) for name in names}
        self.model.load_state_dict(given, strict=False, assign=True)
        try:
            yield
        finally:
            gone = {name: tensor.to("meta") for name, tensor in given.items()}
            self.model.load_state_dict(gone, strict=False, assign=True)

    def around(self) -> list[str]:
        """Return the names of all tensors of the decoder that lie in no layer."""
        decoder = self.model.get_decoder()
        [name] = [name for name, module in self.model.named_modules() if module is decoder]
        inside, layers = f"{name}.", f"{self.family.layers}."
        names = list(self.model.state_dict())
        return [n for n in names if n.startswith(inside) and not n.startswith(layers)]

    def inside(self, layers: list[int]) -> list[str]:
        """Return the names of all tensors of these layers."""
        prefixes = tuple(f"{self.family.layers}.{layer}." for layer in layers)
        return [name for name in self.model.state_dict() if name.startswith(prefixes)]

    @contextmanager
    def only(self, block: list[int], before: Path, behind: Path) -> Iterator[None]:
        """Let the layers outside ``block``, consecutive ones, stand aside in the model's forward pass.

        The one in front of it hands out the hidden states that the file ``before`` holds, batch after
        batch; the one behind it writes those it is given to the file ``behind``.
        """
        layers = list(self.model.get_submodule(self.family.layers))
        first, last = block[0], block[-1]
        with States(self.model.dtype) as states:
            for at, layer in enumerate(layers):
                if at == first - 1:
                    layer.forward = states.reading(before)
                elif at == last + 1:
                    layer.forward = states.writing(behind)
                elif at not in block:
                    layer.forward = states.passing
            try:
                yield
            finally:
                for layer in layers:
                    vars(layer).pop("forward", None)


class Progress:
    """How far a pass has come: a folder with the statistics that are finished, and where to go on.

    What was left by a pass over anything else than ``fingerprint`` says is thrown away.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.done = 0
        """Blocks that are finished."""
        path = folder / "state.json"
        state = read_json(path) if path.exists() else None
        if state is not None and state["fingerprint"] == fingerprint:
            self.done = state["done"]
            log.info("going on behind block %d of an unfinished pass in %s", self.done, folder)
            return
        if state is not None:
            log.warning(
                "%s holds an unfinished pass over another model, text, section or version: it is thrown away, "
                "the pass begins anew",
                folder,
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def statistics(self, block: int, part: int | None = None) -> Path:
        """Return the file of a block's statistics, or of one of its pools' alone."""
        name = f"block_{block}" if part is None else f"part_{part}_block_{block}"
        return self.folder / f"{name}.safetensors"

    def states(self, block: int) -> Path:
        """Return the file of the hidden states in front of a block."""
        return self.folder / f"states_{block}.bin"

    def finish(self) -> None:
        """Record that one more block is finished; its input is of no more use."""
        self.done += 1
        state = {"fingerprint": self.fingerprint, "done": self.done}
        write_json(self.folder / "state.json", state)
        self.states(self.done - 1).unlink(missing_ok=True)


def fingerprint(files: list[FileHash], ids: Tensor, asked: CovarianceParams, *facts: Any) -> str:
    """Return the hash of all that a pass depends on."""
    tokens = hashlib.sha256(ids.contiguous().numpy().data).hexdigest()
    hashes = {file.path: file.sha256 for file in files}
    value = [hashes, tokens, list(ids.shape), asked.model_dump(mode="json"), *facts]
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def stream(
    streamed: Streamed,
    ids: Tensor,
    blocks: list[list[int]],
    asked: CovarianceParams,
    progress: Progress,
    shard: int | None = None,
) -> list[Path]:
    """Return the files of every block's statistics, those that a stopped pass had finished included.

    Of a ``shard`` those of every pool of it apart, block after block within a pool.

    Memory: embeddings, the weights of one block, its statistics and its activations on one batch. Disk,
    until the pass ends: twice the hidden states, sequences · length · width numbers of the model's
    precision each. Cost: that of `rankwise.covariance.gather`, which this calls block by block, and
    an embedding of the text a block. A pass that is stopped loses the block it was at.
    """
    times = streamed.files.times()
    streamed.files.verify()

    def weight_of(name: str) -> Tensor:
        weight: Tensor = streamed.model.get_submodule(name).weight
        return weight.T if streamed.family.transposed else weight

    for at in range(progress.done, len(blocks)):
        block = blocks[at]
        with (
            streamed.files.unchanged(times),
            streamed.loaded(streamed.around() + streamed.inside(block)),
            streamed.only(block, progress.states(at), progress.states(at + 1)),
        ):
            model, family = streamed.model, streamed.family
            if shard is None:
                [whole] = gather(model, family, weight_of, ids, [block], asked)
            else:
                pools = Pools.of_shard(ids, asked, shard)
                parts = pool_by_pool(model, family, weight_of, pools, [block], asked)
                for number, [part] in enumerate(parts):  # as they come: memory holds one
                    part.save(progress.statistics(at, number))
                del part
        if shard is None:
            whole.save(progress.statistics(at))
            del whole  # or the next block would be gathered beside it
        progress.finish()
    kept = [None] if shard is None else range(asked.pools // asked.shards)
    return [progress.statistics(at, part) for part in kept for at in range(len(blocks))]
