"""Windows of tokens, sampled from a corpus."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, write


@dataclass(frozen=True)
class Tokens:
    """Windows of tokens for one role."""

    ids: Tensor
    """[sequences, length] int32."""
    starts: Tensor
    """[sequences] int64: offset of each window in its corpus's token stream [tokens]."""
    role: str
    corpus: str
    corpus_sha256: str
    seed: int

    def save(self, path: Path) -> None:
        """Write ids and starts, with the other fields as metadata."""
        head = {
            "role": self.role,
            "corpus": self.corpus,
            "corpus_sha256": self.corpus_sha256,
            "seed": self.seed,
        }
        write(path, "tokens@1", {"ids": self.ids, "starts": self.starts}, head)

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "Tokens":
        """Read windows of tokens."""
        tensors, head = read(path, "tokens@1")
        return cls(tensors["ids"], tensors["starts"], **head)
