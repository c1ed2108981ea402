"""A tiny model whose linears are replaced by factors."""

from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Kept
from rankwise.checkpoint.saving import replace_linear
from rankwise.hub.linears import LowRankLinear
from rankwise.linalg.factorisations import svd
from rankwise.model.families import family_of

FAMILY = family_of("LlamaForCausalLM")


def compress(model, keep=0.5):
    """Put the SVD of every linear but v in its place, at ``keep`` of the break-even rank."""
    for linear in FAMILY.linears([0, 1]):
        if linear.kind == "v":
            continue
        weight = model.get_submodule(linear.name).weight.detach()
        u, s, vh = svd(weight.double())
        rank = int(keep * weight.numel() / sum(weight.shape))
        replace_linear(model, linear.name, Factors(u * s, vh, s), Kept(rank))
    return model.requires_grad_(requires_grad=False)


def factored(model):
    return [module for module in model.modules() if isinstance(module, LowRankLinear)]
