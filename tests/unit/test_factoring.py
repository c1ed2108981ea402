"""What is computed beside every decomposition."""

import torch

from rankwise.artifacts import Factors
from rankwise.factoring import weight_errors


def test_weight_errors_are_those_of_every_truncation():
    g = torch.Generator().manual_seed(0)
    weight, left, right = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((7, 9), (7, 5), (5, 9))
    )
    found = weight_errors(weight, Factors(left, right, torch.ones(5)))
    expected = [float((weight - left[:, :r] @ right[:r]).square().sum()) for r in range(6)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
