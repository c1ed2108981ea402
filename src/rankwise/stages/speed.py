"""Stage speed: prefill throughput of one run, measured beside the dense model."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import CheckpointFile, ComputeFile, OutFile, ParamsFile, RunName


def command(
    params: ParamsFile,
    compute: ComputeFile,
    run: RunName,
    checkpoint: CheckpointFile,
    against: Annotated[Path, typer.Option(help="Manifest of the dense model.")],
    out: OutFile,
) -> None:
    """Time one run beside the dense model, in turn, in this process."""
    import logging

    import torch

    from rankwise.checkpoint import load
    from rankwise.compute import set_up
    from rankwise.evaluate.speed import prefill
    from rankwise.params import Compute, Speed
    from rankwise.records import SpeedRecord
    from rankwise.sections import read_section

    given = read_section(params, Speed)
    device = set_up(read_section(compute, Compute))
    models = [load(path, device).model for path in (checkpoint, against)]
    shape = (given.batch, given.length)
    ids = torch.randint(
        models[0].config.vocab_size, shape, generator=torch.Generator().manual_seed(0)
    )
    ours, dense = prefill(models, ids, given.repeats)
    SpeedRecord(
        run=run,
        tokens_per_second=ours.median,
        quartiles=ours.quartiles,
        dense_tokens_per_second=dense.median,
        dense_quartiles=dense.quartiles,
        batch=given.batch,
        length=given.length,
        repeats=given.repeats,
        device=device.type,
        threads=torch.get_num_threads(),
    ).save(out)
    logging.getLogger("rankwise.speed").info(
        "%s: %.0f tokens/s, dense beside it %.0f", run, ours.median, dense.median
    )
