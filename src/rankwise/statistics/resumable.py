"""A streamed pass from its start, or from where it was stopped, to the files of a stage."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from rankwise.files.atomic import link_or_copy
from rankwise.model.device import set_up_device
from rankwise.params.section import Section
from rankwise.params.stages import Compute
from rankwise.records.inputs import ModelManifest
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
    """Run a streamed pass over the dense model to its end, and let what it made be the files ``out``.

    ``gather_streamed`` is `stream` or `rankwise.statistics.streamed_fisher.stream_gradients`, ``facts`` its arguments behind
    the progress, on which that depends, too; ``work`` is the folder in which it goes on after a stop.
    """
    asked, where = sections
    streamed, groups = (
        Streamed.of(manifest, set_up_device(where)),
        where.layer_groups(manifest.layers),
    )
    progress = Progress(work, hash_pass_inputs(manifest, ids, asked, where, *facts))
    made = gather_streamed(streamed, ids, groups, asked, progress, *facts)
    for path, file in zip(out, made, strict=True):
        link_or_copy(file, path)
    shutil.rmtree(work)
