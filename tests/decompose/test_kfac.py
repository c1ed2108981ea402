"""KFAC against its definition: the predicted loss, and that no other factors have less."""

from dataclasses import replace

import pytest
import torch

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.decompose.kfac import KFAC
from rankwise.errors import RankwiseError
from rankwise.linalg.factorisations import damp


def random_case(out, columns, seed):
    """A weight, correlated inputs, and the gradients at its outputs, also seen from the input side."""
    rng = torch.Generator().manual_seed(seed)
    weight, mix, bend = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((out, columns), (columns, columns), (out, out))
    )
    x = torch.randn(200, columns, generator=rng, dtype=torch.float64) @ mix + 1
    g = torch.randn(200, out, generator=rng, dtype=torch.float64) @ bend
    inputs = InputStatistics(
        x.T @ x, x.mean(0, keepdim=True), torch.tensor([len(x)]), x.abs().sum(0)
    )
    squares, tokens = g.square().sum(0), len(g)
    by_output = OutputGradient(g.T @ g, "out", squares, tokens)
    by_input = OutputGradient((g @ weight).T @ (g @ weight), "in", squares, tokens)
    return weight, inputs, by_output, by_input


@pytest.mark.parametrize(("out", "columns"), [(6, 9), (9, 6), (7, 7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_tail_is_the_predicted_loss_and_least(out, columns, seed):
    weight, inputs, gradient, _ = random_case(out, columns, seed)
    method = KFAC()
    full = min(out, columns)
    factors = method(weight, replace(inputs, gradient=gradient), full)
    metric = damp(gradient.second_moment, method.gradient_damping)
    covariance = damp(inputs.covariance, method.damping)

    def predicted(approximation):
        rest = weight - approximation
        return float(torch.trace(metric @ rest @ covariance @ rest.T)) / 2

    rng = torch.Generator().manual_seed(seed)
    for rank in range(full + 1):
        ours = factors.left[:, :rank] @ factors.right[:rank]
        tail = float(factors.spectrum[rank:].square().sum())
        assert predicted(ours) == pytest.approx(tail, rel=1e-8, abs=1e-8)
        for _ in range(5 if rank else 0):
            noise = [
                torch.randn(t.shape, generator=rng, dtype=t.dtype)
                for t in (factors.left, factors.right)
            ]
            left, right = factors.left + 1e-2 * noise[0], factors.right + 1e-2 * noise[1]
            assert predicted(left[:, :rank] @ right[:rank]) >= tail * (1 - 1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_either_side_gives_the_same_approximation(seed):
    weight, inputs, by_output, by_input = random_case(9, 6, seed)
    method = KFAC()
    one, other = (method(weight, replace(inputs, gradient=g), 6) for g in (by_output, by_input))
    torch.testing.assert_close(one.spectrum, other.spectrum, rtol=1e-7, atol=1e-9)
    for rank in (1, 3, 6):
        torch.testing.assert_close(
            one.left[:, :rank] @ one.right[:rank], other.left[:, :rank] @ other.right[:rank]
        )
        torch.testing.assert_close(one.bias(rank), other.bias(rank))


def test_without_gradients_it_says_what_is_missing():
    weight, inputs, _, _ = random_case(4, 4, 0)
    with pytest.raises(RankwiseError, match="stage fisher"):
        KFAC()(weight, inputs, 2)
