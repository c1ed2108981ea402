"""Stage speed: prefill and decoding of one run, measured beside the dense model."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import CheckpointFile, ComputeFile, OutFile, ParamsFile, RunName


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

    from rankwise.checkpoint.loading import load_model
    from rankwise.errors import RankwiseError
    from rankwise.evaluate.speed import compare_speed
    from rankwise.model.device import set_up_device
    from rankwise.params.compute import Compute
    from rankwise.params.section import read_section
    from rankwise.params.speed import Speed

    given = read_section(params, Speed)
    if not given.batches:
        raise RankwiseError(f"{params}: speed.batches names no batch size, so nothing is timed")
    device = set_up_device(read_section(compute, Compute))
    ours, dense = (load_model(path, device).model for path in (checkpoint, against))
    record = compare_speed(run, ours, dense, given)
    record.save(out)
    logging.getLogger("rankwise.speed").info(
        "%s: %.0f tokens/s, dense beside it %.0f",
        run,
        record.tokens_per_second,
        record.dense[-1].prefill.median,
    )
