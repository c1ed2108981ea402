"""Low rank of least predicted loss in a Kronecker-factored metric (K-FAC); ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.measure import Measure
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.gradients import OutputGradient
    from rankwise.artifacts.statistics import InputStatistics


class KFAC(Decomposer):
    """The affine rank-r approximation of y = W x of least predicted loss, at every rank at once.

    C is the covariance of x [in, in] and G = E[g gᵀ] [out, out], g the gradient of the loss at y. A change
    to Ŵ, with the bias that keeps the mean output, costs about ``½ tr(G (W − Ŵ) C (W − Ŵ)ᵀ)`` nats a
    token; this takes G and C as independent (Kronecker). The SVD ``G^½ W C^½ = U S Vᵀ`` minimises it:
    ``left = G^-½ U_r``, ``right = U_rᵀ G^½ W``. Where out > in, the method computes the same from the smaller
    side: V are eigenvectors of ``Lᵀ H L`` [in, in], C = L Lᵀ and H = Wᵀ G W, ``left = W L V_r``,
    ``right = V_rᵀ L⁻¹``. Source: ours; G as in K-FAC's gradient factor.

    The spectrum is ``S / √2``: its squared tail is the predicted increase of the loss [nats/token]. It is
    comparable between all matrices of the model, which the allocator `least_loss` needs. G and C are damped
    relative to their mean diagonal; the notes record the damping. Cost: eigenproblems of size in and
    min(out, in) in float64, after the backward pass of stage fisher.

    Use it with the allocator `least_loss` for plain low rank, which is fast at run time, where a backward pass is possible.
    """

    summary: ClassVar[str] = (
        "The affine rank-r approximation of y = W x of least predicted loss, at every rank at once."
    )
    bias: ClassVar[bool] = True
    gradient: ClassVar[bool] = True
    measure: ClassVar[Measure] = Measure.LOSS
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.SMALLER
    workspace: ClassVar[float] = 4.0

    damping: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Added to the covariance's diagonal, relative to its mean [-]."""
    gradient_damping: Annotated[float, Field(gt=0)] = 1e-2
    """The same for the gradient's second moment; it adds a small part of the plain output error [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in]; ``inputs`` must hold the gradient at the output."""
        from rankwise.artifacts.factors import Factors
        from rankwise.errors import RankwiseError

        if inputs.gradient is None:
            raise RankwiseError("decomposer kfac needs the gradients of stage fisher")
        find = self._by_outputs if inputs.gradient.side == "out" else self._by_inputs
        left, right, spectrum = find(weight, inputs, inputs.gradient, rank)
        return Factors(
            left,
            right,
            spectrum / 2**0.5,
            offset=weight @ inputs.mean,
            codes=right @ inputs.mean,
            notes={"damping": self.damping, "gradient_damping": self.gradient_damping},
        )

    def _by_outputs(
        self, weight: Tensor, inputs: InputStatistics, gradient: OutputGradient, rank: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        from rankwise.decompose._principal import principal_outputs
        from rankwise.linalg import factorisations

        root, inverse = factorisations.square_roots(
            factorisations.damp(gradient.second_moment, self.gradient_damping)
        )
        directions, parts, spectrum = principal_outputs(
            weight, inputs, self.damping, rank, centred=True, scale=root
        )
        return inverse @ directions, parts, spectrum

    def _by_inputs(
        self, weight: Tensor, inputs: InputStatistics, gradient: OutputGradient, rank: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        from rankwise.linalg import factorisations

        root, values = inputs.whitening(self.damping, centred=True)
        # Damping G by δ adds δ WᵀW to Wᵀ G W, so both sides have the same damping.
        added = self.gradient_damping * gradient.mean_square * weight.T @ weight
        moment = root.T @ (gradient.second_moment + added) @ root
        directions, spectrum = factorisations.principal_eigenvectors(moment, rank, inputs.tokens)
        return weight @ (root @ directions), directions.T @ (root / values).T, spectrum
