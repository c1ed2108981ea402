"""What a model family is: data that says which linears of a decoder layer share which input.

The data stands in a YAML file (`rankwise.model.families`, or a study's own folder) and is carried by the
model's manifest from the stage prepare on, so that no later stage looks a family up.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rankwise.params.section import Section

EXPERT = "{expert}"
"""Stands for an expert's number in the names of sites and modules."""
Names = Annotated[dict[str, str], Field(min_length=1)]


@dataclass(frozen=True)
class Linear:
    """One linear of one decoder layer."""

    name: str
    """Module name in the whole model, e.g. ``model.layers.3.mlp.up_proj``."""
    layer: int
    site: str
    """Where its input comes from; linears of one site see the same tensor."""
    kind: str
    """Its role in a block, as the family names it: q, k, v, qkv, o, gate, up, gate_up, down, …"""
    sublayer: str
    """The part of the block, between two residual additions, that it lies in."""
    expert: int | None = None
    """Which expert of its layer it belongs to; None: it sees every token."""


class Sublayer(Section):
    """A part of a decoder layer that ends in a residual addition."""

    sites: Annotated[dict[str, Names], Field(min_length=1)]
    """Site → kind → module name inside a block, in order; an entry with ``{expert}`` stands for all experts."""
    adds: str | None = None
    """Module inside a block whose output is added to the hidden state: after a post-norm, that norm."""
    gives: str | None = None
    """In place of ``adds``: module whose output *is* the hidden state behind the sublayer (norms behind the sum)."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.adds is None) == (self.gives is None):
            raise ValueError("give one of 'adds' and 'gives'")
        return self


class Family(Section):
    """The linears of a decoder layer, for some architectures as ``config.json`` names them."""

    architectures: Annotated[list[str], Field(min_length=1)]
    layers: Annotated[str, Field(min_length=1)]
    """Module name of the list of decoder layers."""
    sublayers: Annotated[dict[str, Sublayer], Field(min_length=1)]
    """Parts of a block in the order in which they are added to the hidden state."""
    dense: list[str] = Field(default_factory=list)
    """Modules inside a block with a weight matrix that is never factored, nor counted in ``keep`` (routers)."""
    parallel: bool = False
    """Whether all sublayers read the block's input, rather than what the one before left."""
    transposed: bool = False
    """Whether weights are stored [in, out] (GPT-2's Conv1D) rather than [out, in]."""
    experts: str | int | None = None
    """How many experts a layer has: a key of the model's configuration, or a number."""
    stored: dict[str, list[Annotated[list[str], Field(min_length=1)]]] = Field(default_factory=dict)
    """Module → other ways in which weight files hold it: names whose weights are stacked along the outputs."""
    head: list[str] = Field(default_factory=list)
    """Other names that weight files give the module of the output head."""
    when: dict[str, Any] = Field(default_factory=dict)
    """Key of the model's configuration → value that it must have for this description to be right."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sites = [(site, path) for site, paths in self._sites() for path in paths.values()]
        names = [site for sublayer in self.sublayers.values() for site in sublayer.sites]
        paths = [path for _, path in sites] + self.dense
        for twice in {name for name in [*names, *paths] if [*names, *paths].count(name) > 1}:
            raise ValueError(f"'{twice}' stands there twice")
        for site, path in sites:
            if "." in site:
                raise ValueError(f"site '{site}': a site's name has no dot")
            if (EXPERT in site) != (EXPERT in path):
                raise ValueError(
                    f"site '{site}': '{EXPERT}' stands in both site and module or in neither"
                )
        if (self.experts is not None) != any(EXPERT in site for site, _ in sites):
            raise ValueError(f"'experts' goes with sites named by '{EXPERT}'")
        for path in set(self.stored) - set(paths):
            raise ValueError(f"stored: '{path}' is no module of a site")
        if self.parallel and any(sublayer.gives for sublayer in self.sublayers.values()):
            raise ValueError("'parallel' goes with 'adds', not with 'gives'")
        return self

    def linears(self, layers: Iterable[int]) -> list[Linear]:
        """Return the linears of these layers, in order of layer, sublayer, site, expert and kind."""
        return [
            Linear(
                f"{self.layers}.{layer}.{_with_expert(path, expert)}",
                layer,
                _with_expert(site, expert),
                kind,
                name,
                expert,
            )
            for layer in layers
            for name, sublayer in self.sublayers.items()
            for experts in self._groups(sublayer)
            for expert, site, members in experts
            for kind, path in members.items()
        ]

    def kinds(self) -> list[str]:
        """Return the roles that linears have in this family, in the order of the forward pass."""
        return list(dict.fromkeys(kind for _, members in self._sites() for kind in members))

    def fused(self, layers: Iterable[int]) -> list[str]:
        """Return the modules of these layers in which the library keeps all experts as one tensor."""
        heads = dict.fromkeys(
            path.partition(f".{EXPERT}.")[0]
            for site, members in self._sites()
            if EXPERT in site
            for path in members.values()
        )
        return [f"{self.layers}.{layer}.{head}" for layer in layers for head in heads]

    def in_files(self, linear: str) -> list[list[tuple[str, int | None]]]:
        """Return the ways in which files may hold a linear's weight, each the parts to stack.

        A part is the name of a tensor and, where that holds all experts, the number of the one wanted.
        Files may leave out the first part of every name, as the library's own loader allows.
        """
        layer, path = linear.removeprefix(f"{self.layers}.").split(".", 1)
        found = re.search(r"\.(\d+)\.", path) if self.experts is not None else None
        ways: list[list[tuple[str, int | None]]] = [[(f"{path}.weight", None)]]
        if found is not None:
            number, head, tail = int(found[1]), path[: found.start()], path[found.end() :]
            ways.append([(f"{head}.{tail}", number)])
        kept = path if found is None else f"{path[: found.start()]}.{EXPERT}.{path[found.end() :]}"
        for parts in self.stored.get(kept, []):
            expert = None if found is None else int(found[1])
            ways.append([(f"{_with_expert(part, expert)}.weight", None) for part in parts])
        whole = f"{self.layers}.{layer}"
        return [
            [(f"{start}.{part}", number) for part, number in way]
            for start in (whole, whole.partition(".")[2])
            for way in ways
        ]

    def _sites(self) -> list[tuple[str, dict[str, str]]]:
        return [item for part in self.sublayers.values() for item in part.sites.items()]

    def _groups(self, sublayer: Sublayer) -> list[list[tuple[int | None, str, dict[str, str]]]]:
        """Return a sublayer's sites in order; those of experts together, expert by expert."""
        several = [(s, members) for s, members in sublayer.sites.items() if EXPERT in s]
        groups: list[list[tuple[int | None, str, dict[str, str]]]] = []
        for site, members in sublayer.sites.items():
            if EXPERT not in site:
                groups.append([(None, site, members)])
            elif site == several[0][0]:
                numbers = range(int(self.experts or 0))
                groups += [[(number, s, m) for s, m in several] for number in numbers]
        return groups


def _with_expert(name: str, expert: int | None) -> str:
    return name if expert is None else name.replace(EXPERT, str(expert))
