"""Compute device: threads, deterministic algorithms, and the types of numbers."""

import logging

import torch

from rankwise.errors import RankwiseError
from rankwise.params.compute import Compute

log = logging.getLogger("rankwise.compute")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def set_up_device(compute: Compute) -> torch.device:
    """Set threads, and on a GPU deterministic algorithms, for this process; return the device.

    On the CPU every operation in use is deterministic without the switch. There the switch would load
    PyTorch's compiler, which takes seconds in each of a study's many short jobs.
    """
    torch.set_num_threads(compute.threads)
    device = torch.device(compute.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RankwiseError(
            f"compute.device: {compute.device} asked, but this PyTorch ({torch.__version__}) sees no CUDA device; use cpu"
        )
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device
