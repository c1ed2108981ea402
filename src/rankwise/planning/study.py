"""Sizes of a study's layer groups, batches and checkpoints, from which its plan is computed."""

from dataclasses import dataclass

from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.sample import Sample
from rankwise.params.study import Params
from rankwise.planning.sizes import Matrix, Sizes
from rankwise.validation.statistics import required_statistics

FLOAT = 4
"""Size of a float32 number [bytes]."""
LOGITS = 3
"""Copies of a batch's predictions in float32: logits, their logarithm, a gradient or another model's [-]."""


@dataclass(frozen=True)
class StudySizes:
    """A study's parameters together with the sizes of its model."""

    params: Params
    sizes: Sizes
    items: int
    """Requests of all zero-shot tasks to one model [-]."""
    item_tokens: int
    """Tokens of these requests, all together [tokens]."""
    test_tokens: int
    """Tokens of all test texts [tokens]."""

    @property
    def origins(self) -> int:
        """Number of models that are statistics sources: the dense one, and steps of runs [-]."""
        return len({run.origin for run in self.params.built().values()})

    @property
    def groups(self) -> list[list[Matrix]]:
        """The matrices of every layer group."""
        groups = self.params.compute.layer_groups(self.sizes.layers)
        return [self.sizes.group(layers) for layers in groups]

    def predictions(self, batch: int, length: int, copies: int = LOGITS) -> int:
        """Return the bytes of ``copies`` copies of a batch's predictions in float32."""
        return copies * FLOAT * batch * length * self.sizes.vocabulary

    def active(self, batch: int, length: int) -> int:
        """Return the bytes of one decoder layer's activations for a batch."""
        return batch * length * self.sizes.activations * self.sizes.itemsize

    def models(self, number: int, work: int) -> int:
        """Return the peak memory of ``number`` models and their ``work``, or of loading the last one [bytes]."""
        return number * self.sizes.bytes + max(work, self.sizes.converted)

    @property
    def around(self) -> int:
        """Bytes of the weights outside the layers' linears: embeddings, head, norms."""
        return self.sizes.bytes - self.sizes.linear_numbers * self.sizes.itemsize

    @property
    def largest_group(self) -> int:
        """Bytes of the weights of the largest layer group."""
        return max(sum(m.numbers for m in group) for group in self.groups) * self.sizes.itemsize

    @property
    def states(self) -> int:
        """Bytes of the hidden states of all calibration text after one layer."""
        text = self.params.sample.calibration
        return count(text) * self.sizes.width * self.sizes.itemsize

    @property
    def moments(self) -> RequiredStatistics:
        """Statistics that the forward pass gathers."""
        return gathered_statistics(self.params)

    @property
    def factors(self) -> int:
        """Bytes of one method's factors: all ranks up to break-even, as many numbers as the weights."""
        return self.sizes.linear_numbers * self.sizes.itemsize

    def checkpoint(self, keep: float | None) -> int:
        """Return the bytes of a checkpoint with this share of parameters; None means all."""
        linears = self.sizes.linear_numbers * self.sizes.itemsize
        return round(self.sizes.bytes - linears * (1 - (keep or 1.0)))


def gathered_statistics(params: Params) -> RequiredStatistics:
    """Return the statistics that the forward pass gathers."""
    covariance = params.covariance
    return covariance.gathered if covariance.moments else required_statistics(params)


def count(text: Sample) -> int:
    """Return the tokens of the windows; 0 for all windows, whose number depends on the text."""
    return (text.sequences or 0) * text.length
