"""The GPU bench measures every stage; here on the CPU, at a small size."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import gpu

SIZES = {
    "width": 64, "inner": 96, "layers": 2, "sequences": 8, "length": 16, "pools": 2, "trial": 4,
}  # fmt: skip


def test_every_stage_is_measured():
    sizes = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    head, _, _, _, *rows = gpu.main(["--device", "cpu", "--dtype", "float32", *sizes])
    assert "2 layers of 64 and 96, 128 tokens" in head
    found = {row.split("|")[1].strip(): float(row.split("|")[2]) for row in rows[:5]}
    assert list(found) == [
        "forward passes", "covariance", "decomposition", "fisher", "a trial, 4 sequences",
    ]  # fmt: skip
    assert all(seconds >= 0 for seconds in found.values())
    assert all(re.search(r"\d tokens/s, dense \d+, ratio \d", row) for row in rows[5:])
    assert len(rows) == 7
