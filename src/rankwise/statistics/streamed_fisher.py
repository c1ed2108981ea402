"""The backward pass of a model that is never whole in memory, and that goes on where it was stopped.

Forward, every layer group leaves the hidden states in front of it in a file. Backward, one group after
the other, the last first, runs once more on them with what autograd saves of that group alone, and hands the
gradient at its input to the group before it; the loss is taken behind the last. The gradients' moments have
the bytes of a pass over the whole model.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rankwise.params.stages import FisherParams
from rankwise.statistics.accumulators import Position
from rankwise.statistics.fisher import group_of, record_gradients, summed_loss
from rankwise.statistics.hidden_states import Reader, Writer, states_argument
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed


class Graph:
    """What stands around a layer group in the model's forward pass, so that a gradient passes through it alone."""

    def __init__(self, before: Reader) -> None:
        self.before = before
        self.inputs = self.outputs = torch.empty(0)

    def enter(self, *given: Any, **named: Any) -> Tensor:
        """Hand out the states of the file, with a gradient from here on: in place of the layer before."""
        self.inputs = self.before.read(*given, **named).requires_grad_()
        return self.inputs

    def leave(self, *given: Any, **named: Any) -> Tensor:
        """Take the group's output, and go on without a gradient: in place of the layer behind."""
        self.outputs = states_argument(given, named)
        return self.outputs.detach()


def stream_fisher(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    asked: FisherParams,
    progress: Progress,
) -> list[Path]:
    """Return the files of every group's gradients, those that a stopped pass had finished included.

    ``ids`` [sequences, length]; see `rankwise.statistics.fisher.gather` for what is gathered. Memory: embeddings
    and head, the weights of one group, its sums and what autograd saves of it on one batch. Disk, until the pass
    ends: the hidden states in front of every group but the first, and gradients at two of them, sequences ·
    length · width numbers of the model's precision each. Cost: a forward pass more than with the model in
    memory. A pass that is stopped loses the group it was at.
    """
    last = len(groups) - 1
    order = [*range(last), *range(last, -1, -1)]
    with streamed.loaded(streamed.around()):
        for step in range(progress.done, len(order)):
            at = order[step]
            head = streamed.behind() if at == last else []
            with streamed.files.unchanged(), streamed.loaded(head + streamed.inside(groups[at])):
                streamed.ahead([groups[after] for after in order[step + 1 : step + 2]])
                if step < last:
                    _forward(streamed, ids, groups[at], asked, progress, at)
                else:
                    _backward(streamed, ids, groups, asked, progress, at)
    return [progress.statistics(at) for at in range(len(groups))]


@torch.no_grad()
def _forward(
    streamed: Streamed,
    ids: Tensor,
    group: list[int],
    asked: FisherParams,
    progress: Progress,
    at: int,
) -> None:
    """Run one group on the states in front of it, and leave those behind it in a file."""
    model = streamed.model
    with (
        Reader(progress.states(at), model.dtype) as before,
        Writer(progress.states(at + 1), model.dtype) as behind,
        streamed.only(group, before.read, behind.write),
    ):
        for part in tqdm(ids.split(asked.batch), f"forward, group {at}", disable=None):
            model.get_decoder()(part.to(streamed.device), use_cache=False)
    progress.finish(before, behind)


def _backward(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    asked: FisherParams,
    progress: Progress,
    at: int,
) -> None:
    """Run one group forward and backward, keep its sums, and leave the gradient at its input in a file."""
    model, family, group = streamed.model, streamed.family, groups[at]
    generator, place = torch.Generator().manual_seed(asked.seed), Position(streamed.device)
    with (
        Reader(progress.states(at), model.dtype) as before,
        Reader(progress.gradients(at + 1), model.dtype) as from_behind,
        Writer(progress.gradients(at), model.dtype) as to_before,
        record_gradients(model, family, group, streamed.weight_of, place) as sums,
    ):
        graph = Graph(before)
        with streamed.only(group, graph.enter, graph.leave):
            for some in tqdm(ids.split(asked.batch), f"backward, group {at}", disable=None):
                part = some.to(streamed.device)
                if at == len(groups) - 1:
                    summed_loss(model, part, asked, generator).backward()
                else:
                    model.get_decoder()(part, use_cache=False)
                    graph.outputs.backward(from_behind.next(graph.outputs))
                place.refuse_not_finite()
                place.sequence += len(some)
                if at > 0:
                    assert graph.inputs.grad is not None  # noqa: S101 (it was asked for)
                    to_before.append(graph.inputs.grad)
    group_of(group, sums, ids).save(progress.statistics(at))
    gone = [before.path, from_behind.path]
    progress.finish(before, from_behind, to_before, gone=gone)
