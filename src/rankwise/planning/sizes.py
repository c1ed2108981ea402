"""How large a model is, without its weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rankwise.decompose import decomposers
from rankwise.linalg import factorisations
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.model.family import Family, Linear
from rankwise.params.stages import Params

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
        """Entries of the weight [-]."""
        return self.out * self.columns

    @property
    def smaller(self) -> int:
        """The smaller of its sides [-]."""
        return min(self.out, self.columns)


@dataclass(frozen=True)
class Sizes:
    """What the configuration of a model comes to."""

    config: Any
    family: Family
    matrices: list[Matrix]
    parameters: int
    """Of the whole model, tied ones once [-]."""
    itemsize: int
    """Size of a parameter in memory [bytes]."""
    file_itemsize: int
    """Size of a parameter in the model's files, as its configuration says [bytes]."""
    vocabulary: int
    width: int

    @classmethod
    def of(cls, params: Params, folder: Path) -> "Sizes":
        """Read ``config.json`` of a folder; nothing else need be in it.

        Raises RankwiseError as stage prepare does, also where ``prepare.model.layers`` is another number.
        """
        from rankwise.errors import RankwiseError
        from rankwise.hub.experts import separate
        from rankwise.inputs.architecture import build_empty_model, read_model_config
        from rankwise.model.device import DTYPES
        from rankwise.model.families import FAMILIES
        from rankwise.model.sliced_linear import shape_of

        config, _, family = read_model_config(folder, FAMILIES)
        dtype = DTYPES[params.prepare.model.dtype]
        stored = config.dtype or dtype  # before the library writes the other into it
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
        """Entries of all weights that may be factored [-]."""
        return sum(matrix.numbers for matrix in self.matrices)

    @property
    def bytes(self) -> int:
        """The model in memory [bytes]."""
        return self.parameters * self.itemsize

    @property
    def converted(self) -> int:
        """Files that are mapped while the model is loaded in another precision; in their own they are the model [bytes]."""
        return 0 if self.file_itemsize == self.itemsize else self.parameters * self.file_itemsize

    @property
    def largest(self) -> int:
        """Entries of the largest weight that may be factored [-]."""
        return max(matrix.numbers for matrix in self.matrices)

    @property
    def activations(self) -> int:
        """Numbers a token that a decoder layer makes and holds at once: inputs and outputs of one MLP [-]."""
        return 2 * self.width + 3 * max(m.out for m in self.matrices)

    def group(self, layers: list[int]) -> list[Matrix]:
        """Return the matrices of some layers."""
        return [matrix for matrix in self.matrices if matrix.linear.layer in layers]

    def shapes(self) -> dict[tuple[int, int], int]:
        """Return how many matrices have each shape [out, in]."""
        found: dict[tuple[int, int], int] = {}
        for matrix in self.matrices:
            found[matrix.out, matrix.columns] = found.get((matrix.out, matrix.columns), 0) + 1
        return found


def moments_of(matrices: list[Matrix], moments: RequiredStatistics) -> list[int]:
    """Return the sides of the second moments that the forward pass gathers, as `covariance` chooses them."""
    sides: list[int] = []
    if moments == RequiredStatistics.CHANNELS:
        return sides
    for site in _sites(matrices):
        outs = [matrix.out for matrix in site]
        sides += outs if _by_outputs(site, moments) else [site[0].columns]
    return sides


def shapes_by_outputs(matrices: list[Matrix], moments: RequiredStatistics) -> set[tuple[int, int]]:
    """Return the shapes [out, in] of linears of whose outputs, rather than inputs, moments are gathered."""
    sites = [site for site in _sites(matrices) if _by_outputs(site, moments)]
    return {(matrix.out, matrix.columns) for site in sites for matrix in site}


def _sites(matrices: list[Matrix]) -> Iterator[list[Matrix]]:
    for _, members in groupby(matrices, key=lambda m: (m.linear.layer, m.linear.site)):
        yield list(members)


def _by_outputs(site: list[Matrix], moments: RequiredStatistics) -> bool:
    return (
        moments == RequiredStatistics.SMALLER and sum(m.out**2 for m in site) < site[0].columns ** 2
    )


def whole(sides: list[int]) -> int:
    """Return the bytes of symmetric matrices of these sides in memory."""
    return sum(SUM * side * side for side in sides)


def panels(sides: list[int]) -> int:
    """Return their bytes while a pass sums them."""
    parts = [part for side in sides for part in factorisations.panels(side)]
    return sum(SUM * (rows.stop - rows.start) * upto.stop for rows, upto in parts)


def triangles(sides: list[int]) -> int:
    """Return their bytes in a file, one triangle each."""
    return sum(SUM * side * (side + 1) // 2 for side in sides)


def gradients(params: Params) -> bool:
    """Tell whether the study has a backward pass."""
    used = {params.method("decompose", run.decompose) for run in params.compressions().values()}
    return any(decomposers[method].gradient for method in used)
