"""What a model family is: data that says which linears of a decoder block share which input."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """One linear of one decoder block."""

    name: str
    """Module name in the whole model, e.g. ``model.layers.3.mlp.up_proj``."""
    layer: int
    site: str
    """Where its input comes from; linears of one site see the same tensor."""
    kind: str
    """Its role in a block: q, k, v, o, gate, up, down."""
    sublayer: str
    """The part of the block, between two residual additions, that it lies in."""


@dataclass(frozen=True)
class Family:
    """The linears of a decoder block, for some architectures as ``config.json`` names them."""

    architectures: tuple[str, ...]
    layers: str
    """Module name of the list of decoder blocks."""
    sites: dict[str, dict[str, str]]
    """Site → kind → module name inside a block."""
    sublayers: dict[str, str]
    """Sublayer → module name inside a block, in order; each adds its output to the hidden state."""

    def linears(self, layers: list[int]) -> list[Linear]:
        """Return the linears of these layers, in order of layer, site and kind."""
        return [
            Linear(f"{self.layers}.{layer}.{path}", layer, site, kind, self._sublayer(path))
            for layer in layers
            for site, members in self.sites.items()
            for kind, path in members.items()
        ]

    def _sublayer(self, path: str) -> str:
        [name] = [name for name, prefix in self.sublayers.items() if path.startswith(f"{prefix}.")]
        return name
