"""One small artifact of every kind that a stage writes, and how it is read."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from rankwise.allocate.problem import Trials
from rankwise.artifacts.factors import Factors, GroupFactors, SparsePart, read_spectra
from rankwise.artifacts.gradients import GroupFisher, OutputGradient
from rankwise.artifacts.refined import RefinedBlock
from rankwise.artifacts.statistics import GroupStatistics, InputStatistics
from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.files.checksummed import read_checksummed_lines
from rankwise.records.corpora import CorporaManifest, CorpusManifest
from rankwise.records.speed import SpeedRecord
from rankwise.records.tasks import TasksManifest
from tools.faults.tally import Tally


@dataclass(frozen=True)
class Kind:
    """An artifact that can be written anywhere and read again."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]


def kinds() -> list[Kind]:
    """Return every kind: tensors of each schema, records, search traces."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator)

    square = values(4, 4)
    inputs = InputStatistics(square + square.T, values(2, 4), torch.tensor([3, 4]), values(4))
    places = torch.tensor([5, 1], dtype=torch.int32)
    sparse = SparsePart(places, values(2), values(2), torch.tensor([[1, 2]]))
    factors = Factors(values(4, 2), values(2, 4), values(4), sparse=sparse)
    gradient = OutputGradient(square + square.T, "out", values(4), 7)
    tensors: list[tuple[str, Any, Callable[[Path], Any]]] = [
        ("tokens", Tokens(torch.arange(8).int().view(2, 4), torch.arange(2), "test", "c", "h", 0), Tokens.load),
        ("statistics", GroupStatistics([0], {(0, "in"): inputs}), GroupStatistics.load),
        ("fisher", GroupFisher([0], {"a": gradient}), GroupFisher.load),
        ("refined", RefinedBlock("f", {"best": 1}, {"w": square}), RefinedBlock.load),
    ]  # fmt: skip
    found = [Kind(name, value.save, read) for name, value, read in tensors]
    block = GroupFactors("svd", [0], {"a": factors})
    for name, read in (("factors", GroupFactors.load), ("spectra", read_spectra)):
        found.append(Kind(name, lambda path: block.save(path, torch.bfloat16), read))
    corpus = CorpusManifest(
        source="é", revision=None, file=None, field="text", characters=None, sha256="0", bytes=1
    )
    speed = {"length": 1, "new_tokens": 1, "repeats": 3, "device": "cpu", "threads": 1}
    records = [
        CorporaManifest(corpora={"train": corpus}),
        TasksManifest(source=None, files=[]),
        SpeedRecord(run="a", points=[], dense=[], **speed),
    ]
    found += [Kind(type(r).__name__, r.save, type(r).load) for r in records]
    trials = Trials()
    trials.rows = [{"trial": n, "objective": n / 3, "status": "ok"} for n in range(3)]
    found.append(
        Kind("trials", lambda path: path.write_text(trials.text()) and None, read_checksummed_lines)
    )
    return found


def same(one: Any, other: Any) -> bool:
    """Tell whether two artifacts, as they were read, say the same."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if is_dataclass(one):
        pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        return all(same(*pair) for pair in pairs)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def flipped(whole: bytes, bits: Iterator[int]) -> Iterator[bytes]:
    """Yield ``whole`` with one bit the other way."""
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flipped_everywhere(seed: int, times: float) -> Tally:
    """Flip bits of every kind of artifact, and cut it, at random places; count what the readers make of it."""
    random = Random(seed)
    tally = Tally(
        "an artifact of every kind, one bit flipped or cut anywhere, read by itself", seed
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds():
            path = Path(folder) / "artifact"
            kind.write(path)
            whole, meant = path.read_bytes(), kind.read(path)
            bits = [random.randrange(8 * len(whole)) for _ in range(round(2000 * times))]
            cuts = [random.randrange(len(whole)) for _ in range(round(200 * times))]
            for changed in [*flipped(whole, iter(bits)), *(whole[:length] for length in cuts)]:
                path.write_bytes(changed)
                tally.tried += 1
                try:
                    if not same(kind.read(path), meant):
                        tally.missed(f"{kind.name}: read as something else", wrong=True)
                except RankwiseError as error:
                    if str(path) not in str(error):
                        tally.missed(f"{kind.name}: not named: {error}")
                except Exception as error:
                    tally.missed(f"{kind.name}: {type(error).__name__}: {error}")
    return tally
