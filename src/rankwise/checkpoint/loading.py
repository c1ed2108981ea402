"""Loading of a checkpoint, or of the dense model, by its manifest.

`rankwise.hub` documents what the folder holds and how transformers opens it; every checkpoint contains a
copy of its files.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rankwise.errors import RankwiseError
from rankwise.hub.checks import CheckpointError
from rankwise.hub.experts import separate
from rankwise.inputs.sources import check_files, model_folder
from rankwise.inputs.tokenizer import read_tokenizer
from rankwise.model.device import DTYPES
from rankwise.params.names import DENSE
from rankwise.params.target import Target
from rankwise.records.base import schema_of
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.records.model import ModelManifest


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and its properties."""

    model: Any
    """A transformers causal language model."""
    tokenizer: Any
    run: str
    asked: Target
    keep_reached: float
    parameters: int
    """All parameters, tied ones once [-]."""
    checkpoint_bytes: int
    """Bytes of the weight files [bytes]."""


def manifest_of(checkpoint: Path) -> Path:
    """Return the manifest of a checkpoint, given its folder or its manifest."""
    manifest = checkpoint if checkpoint.suffix == ".json" else Path(f"{checkpoint}.json")
    if not manifest.is_file():
        raise RankwiseError(
            f"{checkpoint}: found no manifest {manifest}; name a folder below data/checkpoints, or its .json"
        )
    return manifest


def load_model(manifest: Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the dense model or a checkpoint by its manifest, in evaluation mode and without gradients."""
    if schema_of(manifest) == ModelManifest.schema_name:
        dense = ModelManifest.load(manifest)
        facts = (DENSE, Target("keep", 1.0), 1.0, dense.parameters)
        model, tokenizer = load_dense(dense)
        files = dense.files
    else:
        record = CheckpointManifest.load(manifest)
        facts = (record.run, record.asked, record.keep_reached, record.parameters)
        folder = manifest.with_suffix("")
        check_files(folder, record.files, shlex.quote(str(folder)))
        model, tokenizer = load_folder(folder)
        files = record.files
    weights = sum(file.bytes for file in files if file.path.endswith(".safetensors"))
    model.to(device).eval().requires_grad_(requires_grad=False)
    return LoadedModel(model, tokenizer, *facts, weights)


def load_dense(manifest: ModelManifest) -> tuple[Any, Any]:
    """Return the dense model, in the precision of its manifest, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    _hide_progress_bars()
    folder = model_folder(manifest.source, manifest.revision)
    check_files(folder, manifest.files, "prepare.model")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[manifest.dtype], local_files_only=True, trust_remote_code=False
    )
    separate(model, manifest.family.fused(range(manifest.layers)))
    return model.eval(), read_tokenizer(folder)


def load_folder(folder: Path) -> tuple[Any, Any]:
    """Return model and tokenizer of a checkpoint folder; missing and unexpected tensors are errors."""
    from transformers import AutoModelForCausalLM

    _hide_progress_bars()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except CheckpointError as error:
        raise RankwiseError(str(error)) from error
    return model.eval(), read_tokenizer(folder, model.config)


def _hide_progress_bars() -> None:
    """Turn transformers' progress bars off unless stderr is a terminal."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
