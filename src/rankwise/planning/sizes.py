"""Sizes of a model, computed from its configuration without its weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rankwise.decompose import decomposers
from rankwise.linalg import symmetric
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.model.family import Family, Linear
from rankwise.params.study import Params

SUM = 8
"""Size of a number in statistics [bytes]: float64."""


@dataclass(frozen=True)
class Matrix:
    """One linear to be factored."""

    linear: Linear
    out: int
    columns: int

    @property
    def numbers(self) -> int:
        """Number of elements of the weight [-]."""
        return self.out * self.columns

    @property
    def smaller(self) -> int:
        """Smaller side of the weight [-]."""
        return min(self.out, self.columns)


@dataclass(frozen=True)
class Sizes:
    """Sizes that follow from the configuration of a model."""

    config: Any
    family: Family
    matrices: list[Matrix]
    parameters: int
    """Parameters of the complete model, tied ones once [-]."""
    itemsize: int
    """Size of a parameter in memory [bytes]."""
    file_itemsize: int
    """Size of a parameter in the model's files, according to its configuration [bytes]."""
    vocabulary: int
    width: int

    @classmethod
    def of(cls, params: Params, folder: Path) -> "Sizes":
        """Read ``config.json`` of a folder; no other file is necessary.

        Raises RankwiseError as the stage prepare does, also for a wrong ``prepare.model.layers``.
        """
        from rankwise.errors import RankwiseError
        from rankwise.hub.experts import separate
        from rankwise.inputs.empty_model import build_empty_model
        from rankwise.inputs.model_config import read_model_config
        from rankwise.model.device import DTYPES
        from rankwise.model.families import FAMILIES
        from rankwise.model.shapes import shape_of

        config, _, family = read_model_config(folder, FAMILIES)
        dtype = DTYPES[params.prepare.model.dtype]
        stored = config.dtype or dtype  # before the library overwrites it
        model = build_empty_model(config, dtype)
        layers = len(model.get_submodule(family.layers))
        if layers != params.prepare.model.layers:
            raise RankwiseError(
                f"prepare.model.layers: {params.prepare.model.layers} given, {folder}/config.json has {layers}"
            )
        separate(model, family.fused(range(layers)))
        matrices = [
            Matrix(linear, *shape_of(model.get_submodule(linear.name)))
            for linear in family.linears(range(layers))
        ]
        return cls(
            config,
            family,
            matrices,
            sum(parameter.numel() for parameter in model.parameters()),
            dtype.itemsize,
            stored.itemsize,
            config.vocab_size,
            config.hidden_size,
        )

    @property
    def layers(self) -> int:
        """Decoder layers [-]."""
        return 1 + max(matrix.linear.layer for matrix in self.matrices)

    @property
    def linear_numbers(self) -> int:
        """Number of elements of all weights that may be factored [-]."""
        return sum(matrix.numbers for matrix in self.matrices)

    @property
    def bytes(self) -> int:
        """Size of the model in memory [bytes]."""
        return self.parameters * self.itemsize

    @property
    def converted(self) -> int:
        """Mapped files while the model is loaded in another precision; 0 in the files' own precision [bytes]."""
        return 0 if self.file_itemsize == self.itemsize else self.parameters * self.file_itemsize

    @property
    def largest(self) -> int:
        """Number of elements of the largest weight that may be factored [-]."""
        return max(matrix.numbers for matrix in self.matrices)

    @property
    def activations(self) -> int:
        """Numbers per token that a decoder layer holds at once: inputs and outputs of one MLP [-]."""
        return 2 * self.width + 3 * max(m.out for m in self.matrices)

    def group(self, layers: list[int]) -> list[Matrix]:
        """Return the matrices of ``layers``."""
        return [matrix for matrix in self.matrices if matrix.linear.layer in layers]

    def shapes(self) -> dict[tuple[int, int], int]:
        """Return shape [out, in] → number of matrices."""
        counts: dict[tuple[int, int], int] = {}
        for matrix in self.matrices:
            counts[matrix.out, matrix.columns] = counts.get((matrix.out, matrix.columns), 0) + 1
        return counts


def moments_of(matrices: list[Matrix], moments: RequiredStatistics) -> list[int]:
    """Return the sides of the second moments that the forward pass gathers for ``matrices``."""
    sides: list[int] = []
    if moments == RequiredStatistics.CHANNELS:
        return sides
    for site in _sites(matrices):
        outs = [matrix.out for matrix in site]
        sides += outs if _uses_outputs(site, moments) else [site[0].columns]
    return sides


def shapes_by_outputs(matrices: list[Matrix], moments: RequiredStatistics) -> set[tuple[int, int]]:
    """Return the shapes [out, in] of linears whose output moments, not input moments, are gathered."""
    sites = [site for site in _sites(matrices) if _uses_outputs(site, moments)]
    return {(matrix.out, matrix.columns) for site in sites for matrix in site}


def _sites(matrices: list[Matrix]) -> Iterator[list[Matrix]]:
    for _, members in groupby(matrices, key=lambda m: (m.linear.layer, m.linear.site)):
        yield list(members)


def _uses_outputs(site: list[Matrix], moments: RequiredStatistics) -> bool:
    return (
        moments == RequiredStatistics.SMALLER and sum(m.out**2 for m in site) < site[0].columns ** 2
    )


def matrix_bytes(sides: list[int]) -> int:
    """Return the bytes of full symmetric matrices of these sides in memory."""
    return sum(SUM * side * side for side in sides)


def panel_bytes(sides: list[int]) -> int:
    """Return the bytes of symmetric matrices in panels, as a pass sums them."""
    parts = [part for side in sides for part in symmetric.panels(side)]
    return sum(SUM * (rows.stop - rows.start) * columns.stop for rows, columns in parts)


def triangle_bytes(sides: list[int]) -> int:
    """Return the bytes of symmetric matrices in a file, one triangle each."""
    return sum(SUM * side * (side + 1) // 2 for side in sides)


def uses_gradients(params: Params) -> bool:
    """Tell whether the study has a backward pass."""
    used = {params.method("decompose", run.decompose) for run in params.compressions().values()}
    return any(decomposers[method].gradient for method in used)
