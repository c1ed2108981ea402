"""What digests cost: an artifact read with them, against the same bytes read and used without.

    python bench/integrity.py [--megabytes 256] [--repeats 5]

Prints the median of repeats of one process each way, in turn, and their ratio; the page cache is warm,
which is the worst case for the digest's share.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from safetensors import safe_open

from rankwise.artifacts.store import read, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    side = int((asked.megabytes * 1e6 / 8 / 4) ** 0.5)
    tensors = {f"{n}.second": torch.rand(side, side, dtype=torch.float64) for n in range(4)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        began = time.perf_counter()
        write(path, "bench@1", tensors, {})
        written = time.perf_counter() - began
        times: dict[str, list[float]] = {"checked": [], "unchecked": []}
        for _ in range(asked.repeats):
            began = time.process_time()
            sum(float(t.sum()) for t in read(path, "bench@1")[0].values())
            times["checked"].append(time.process_time() - began)
            began = time.process_time()
            with safe_open(path, "pt") as stream:
                sum(float(stream.get_tensor(name).sum()) for name in tensors)
            times["unchecked"].append(time.process_time() - began)
        began = time.process_time()
        torch.linalg.eigh(tensors["0.second"])
        eigh = time.process_time() - began
    checked, unchecked = (statistics.median(times[n]) for n in ("checked", "unchecked"))
    size = path_bytes(tensors) / 1e9
    print(f"{size:.3f} GB: written in {written:.2f} s")
    print(f"read and summed: {checked:.3f} CPU s with digests, {unchecked:.3f} CPU s without")
    print(f"digest: {(checked - unchecked) / size:.2f} CPU s a GB")
    share = (checked - unchecked) / 4 / eigh
    print(
        f"one eigendecomposition [{side}, {side}]: {eigh:.2f} CPU s; digest of that matrix: {share:.2%}"
    )


def path_bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


if __name__ == "__main__":
    main()
