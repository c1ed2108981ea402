"""Runs a streamed pass, from its start or from where it stopped, to the files of a stage."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from rankwise.files.atomic import link_or_copy
from rankwise.model.device import set_up_device
from rankwise.params.compute import Compute
from rankwise.params.section import Section
from rankwise.records.model import ModelManifest
from rankwise.statistics.progress import Progress, hash_pass_inputs
from rankwise.statistics.streamed import Streamed


def run_resumable(
    gather_streamed: Callable[..., list[Path]],
    manifest: ModelManifest,
    ids: Tensor,
    sections: tuple[Section, Compute],
    work: Path,
    out: list[Path],
    *facts: Any,
) -> None:
    """Run a streamed pass over the dense model to its end, and put its results at the paths ``out``.

    ``gather_streamed`` is `rankwise.statistics.streamed_covariance.stream_covariance` or
    `rankwise.statistics.streamed_fisher.stream_fisher`. ``facts`` are its arguments after the
    progress; the fingerprint covers them too. ``work`` is the folder from which a stopped pass resumes.
    """
    params, compute = sections
    streamed, groups = (
        Streamed.of(manifest, set_up_device(compute)),
        compute.layer_groups(manifest.layers),
    )
    progress = Progress(work, hash_pass_inputs(manifest, ids, params, compute, *facts))
    finished = gather_streamed(streamed, ids, groups, params, progress, *facts)
    for path, file in zip(out, finished, strict=True):
        link_or_copy(file, path)
    shutil.rmtree(work)
