"""The linears of a checkpoint: two factors, and where there is one a sparse part beside them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .places import column_bits, index_bits


class LowRankLinear(nn.Module):
    """``y = left (right x) + bias``, the form that a checkpoint holds.

    ``right`` [rank, in] and ``left`` [out, rank] are plain ``nn.Linear`` modules, so that everything
    that handles those (dtype casts, devices, adapters) handles them here.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.right = nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype)
        self.left = nn.Linear(rank, out_features, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]; costs rank·(in + out) multiplications a token."""
        return self.left(self.right(x))

    def extra_repr(self) -> str:
        """Say the rank where the module is printed."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


class LowRankSparseLinear(LowRankLinear):
    """``y = left (right x) + S x + bias`` with S [out, in] sparse, the form that a checkpoint holds.

    S is stored as its ``values`` [entries], row by row, and their places: CSR (``rows`` [out + 1] int32,
    ``columns`` [entries] int16 or int32) or a ``mask`` [out, in/8] uint8 of one bit a place, whichever
    is smaller (`index_bits`). It is multiplied as a dense matrix, which works in every
    precision and on every device: the file is small, memory in use and speed are those of a dense
    linear with factors beside it.
    """

    rows: Tensor
    columns: Tensor
    mask: Tensor
    _dense: Tensor | None

    def __init__(
        self,
        *shape_and_rank: int,
        entries: int,
        bias: bool,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(*shape_and_rank, bias=bias, device=device, dtype=dtype)
        self.entries = entries
        out, columns = self.out_features, self.in_features
        self.format, _ = index_bits((out, columns), entries)
        self.values = nn.Parameter(torch.empty(entries, device=device, dtype=dtype))
        kinds = {"rows": torch.int32, "columns": torch.int32, "mask": torch.uint8}
        if column_bits(columns) == 16:
            kinds["columns"] = torch.int16
        sizes: dict[str, tuple[int, ...]] = {"mask": (out, (columns + 7) // 8)}
        if self.format == "csr":
            sizes = {"rows": (out + 1,), "columns": (entries,)}
        for name, size in sizes.items():
            self.register_buffer(name, torch.empty(size, dtype=kinds[name], device=device))
        # What a frozen S is multiplied as; made at the first forward pass, never stored.
        self.register_buffer("_dense", None, persistent=False)

    def hold(self, places: Tensor, values: Tensor) -> None:
        """Take S by ``places`` [entries] = row·in + column, in any order, and ``values`` [entries]."""
        out, columns = self.out_features, self.in_features
        places, order = places.long().sort()
        self.values = nn.Parameter(values[order])
        if self.format == "csr":
            starts = torch.arange(out + 1, device=places.device) * columns
            self.rows = torch.searchsorted(places, starts).to(torch.int32)
            self.columns = (places % columns).to(self.columns.dtype)
        else:
            bits = values.new_zeros(out, self.mask.shape[1], 8, dtype=torch.uint8)
            bits.view(out, -1)[places // columns, places % columns] = 1
            self.mask = (bits << _eight(places.device)).sum(-1, dtype=torch.uint8)

    def places(self) -> Tensor:
        """Return where the values stand, [entries] int64: row·in + column."""
        if self.format == "csr":
            out = len(self.rows) - 1
            row = torch.arange(out, device=self.rows.device)
            return row.repeat_interleave(self.rows.diff()) * self.in_features + self.columns.long()
        bits = (self.mask[..., None] >> _eight(self.mask.device)) & 1
        return bits.flatten(1)[:, : self.in_features].flatten().nonzero()[:, 0]

    def sparse(self) -> Tensor:
        """Return S [out, in] as a dense tensor through which gradients reach the values."""
        shape = self.out_features, self.in_features
        flat = self.values.new_zeros(shape[0] * shape[1])
        return flat.scatter(0, self.places(), self.values).view(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]; costs (rank·(in + out) + in·out) multiplications a token."""
        if self.values.requires_grad:
            self._dense = None
        elif self._dense is None:
            self._dense = self.sparse()
        held = self.sparse() if self._dense is None else self._dense
        return super().forward(x) + functional.linear(x, held)

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        self._dense = None
        super()._load_from_state_dict(*arguments, **named)

    def extra_repr(self) -> str:
        """Say rank and entries where the module is printed."""
        return f"{super().extra_repr()}, entries={self.entries}, format={self.format}"


def _eight(device: torch.device) -> Tensor:
    """[8] uint8: the bits of a byte, the lowest first."""
    return torch.arange(8, dtype=torch.uint8, device=device)
