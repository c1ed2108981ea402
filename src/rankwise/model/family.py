"""Description of a model family: which linears a decoder layer has, and which of them share an input.

A YAML file holds the data (`rankwise.model.families`, or a study's own folder). The stage prepare copies
it into the model's manifest, so that no later stage looks a family up.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rankwise.params.section import Section

EXPERT = "{expert}"
"""Placeholder for an expert's number in the names of sites and modules."""
Names = Annotated[dict[str, str], Field(min_length=1)]


@dataclass(frozen=True)
class Linear:
    """One linear of one decoder layer."""

    name: str
    """Full module name in the model, e.g. ``model.layers.3.mlp.up_proj``."""
    layer: int
    site: str
    """Name of its input; linears of one site read the same tensor."""
    kind: str
    """Its role in a layer, as the family names it: q, k, v, qkv, o, gate, up, gate_up, down, …"""
    sublayer: str
    """Its part of the layer, between two residual additions."""
    expert: int | None = None
    """Number of its expert in the layer; None: it processes every token."""


class Sublayer(Section):
    """A part of a decoder layer that ends in a residual addition."""

    sites: Annotated[dict[str, Names], Field(min_length=1)]
    """Site → kind → module name inside a layer, in order; a name with ``{expert}`` covers all experts."""
    adds: str | None = None
    """Module inside a layer whose output is added to the hidden state; the post-norm where there is one."""
    gives: str | None = None
    """Instead of ``adds``: module whose output *is* the hidden state after the sublayer (norm after the sum)."""

    @model_validator(mode="after")
    def _check_output(self) -> Self:
        if (self.adds is None) == (self.gives is None):
            raise ValueError("give one of 'adds' and 'gives'")
        return self


class Family(Section):
    """The linears of a decoder layer, for one or more architectures as ``config.json`` names them."""

    architectures: Annotated[list[str], Field(min_length=1)]
    layers: Annotated[str, Field(min_length=1)]
    """Module name of the list of decoder layers."""
    sublayers: Annotated[dict[str, Sublayer], Field(min_length=1)]
    """Parts of a layer in the order in which they are added to the hidden state."""
    dense: list[str] = Field(default_factory=list)
    """Modules inside a layer whose weight matrix is never factored and not counted in ``keep`` (routers)."""
    parallel: bool = False
    """Whether all sublayers read the layer's input, rather than the output of the previous sublayer."""
    transposed: bool = False
    """Whether weights are stored [in, out] (GPT-2's Conv1D) rather than [out, in]."""
    experts: str | int | None = None
    """Number of experts of a layer, or the key of the model's configuration that holds it."""
    stored: dict[str, list[Annotated[list[str], Field(min_length=1)]]] = Field(default_factory=dict)
    """Module → alternative names in weight files; weights of several names are stacked along the outputs."""
    head: list[str] = Field(default_factory=list)
    """Alternative names of the output head in weight files."""
    when: dict[str, Any] = Field(default_factory=dict)
    """Key of the model's configuration → value that this description requires."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        sites = [(site, path) for site, paths in self._sites() for path in paths.values()]
        names = [site for sublayer in self.sublayers.values() for site in sublayer.sites]
        paths = [path for _, path in sites] + self.dense
        for duplicate in {name for name in [*names, *paths] if [*names, *paths].count(name) > 1}:
            raise ValueError(f"'{duplicate}' appears twice")
        for site, path in sites:
            if "." in site:
                raise ValueError(f"site '{site}': a site's name has no dot")
            if (EXPERT in site) != (EXPERT in path):
                raise ValueError(
                    f"site '{site}': '{EXPERT}' must appear in both site and module, or in neither"
                )
        if (self.experts is not None) != any(EXPERT in site for site, _ in sites):
            raise ValueError(f"'experts' goes with sites named by '{EXPERT}'")
        for path in set(self.stored) - set(paths):
            raise ValueError(f"stored: '{path}' is no module of a site")
        if self.parallel and any(sublayer.gives for sublayer in self.sublayers.values()):
            raise ValueError("'parallel' goes with 'adds', not with 'gives'")
        return self

    def linears(self, layers: Iterable[int]) -> list[Linear]:
        """Return the linears of ``layers``, in order of layer, sublayer, site, expert and kind."""
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
            for experts in self._group_sites(sublayer)
            for expert, site, members in experts
            for kind, path in members.items()
        ]

    def kinds(self) -> list[str]:
        """Return the kinds of linears of this family, in the order of the forward pass."""
        return list(dict.fromkeys(kind for _, members in self._sites() for kind in members))

    def fused(self, layers: Iterable[int]) -> list[str]:
        """Return the modules of ``layers`` in which the library stores all experts as one tensor."""
        heads = dict.fromkeys(
            path.partition(f".{EXPERT}.")[0]
            for site, members in self._sites()
            if EXPERT in site
            for path in members.values()
        )
        return [f"{self.layers}.{layer}.{head}" for layer in layers for head in heads]

    def in_files(self, linear: str) -> list[list[tuple[str, int | None]]]:
        """Return the alternative layouts of a linear's weight in files, each a list of parts to stack.

        A part is the name of a tensor and, if that tensor holds all experts, the number of this expert.
        Files may omit the first component of every name, as the library's own loader allows.
        """
        layer, path = linear.removeprefix(f"{self.layers}.").split(".", 1)
        match = re.search(r"\.(\d+)\.", path) if self.experts is not None else None
        layouts: list[list[tuple[str, int | None]]] = [[(f"{path}.weight", None)]]
        if match is not None:
            number, head, tail = int(match[1]), path[: match.start()], path[match.end() :]
            layouts.append([(f"{head}.{tail}", number)])
        template = (
            path if match is None else f"{path[: match.start()]}.{EXPERT}.{path[match.end() :]}"
        )
        for parts in self.stored.get(template, []):
            expert = None if match is None else int(match[1])
            layouts.append([(f"{_with_expert(part, expert)}.weight", None) for part in parts])
        prefix = f"{self.layers}.{layer}"
        return [
            [(f"{start}.{part}", number) for part, number in layout]
            for start in (prefix, prefix.partition(".")[2])
            for layout in layouts
        ]

    def _sites(self) -> list[tuple[str, dict[str, str]]]:
        return [item for part in self.sublayers.values() for item in part.sites.items()]

    def _group_sites(
        self, sublayer: Sublayer
    ) -> list[list[tuple[int | None, str, dict[str, str]]]]:
        """Return a sublayer's sites in order; the sites of experts together, expert by expert."""
        expert_sites = [(s, members) for s, members in sublayer.sites.items() if EXPERT in s]
        groups: list[list[tuple[int | None, str, dict[str, str]]]] = []
        for site, members in sublayer.sites.items():
            if EXPERT not in site:
                groups.append([(None, site, members)])
            elif site == expert_sites[0][0]:
                numbers = range(int(self.experts or 0))
                groups += [[(number, s, m) for s, m in expert_sites] for number in numbers]
        return groups


def _with_expert(name: str, expert: int | None) -> str:
    return name if expert is None else name.replace(EXPERT, str(expert))
