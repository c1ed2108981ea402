"""The Fisher pass of a streamed model, one layer group at a time; it can resume after every step.

Forward: a file holds the hidden states before every layer group. Backward, from the last group to the
first: the group runs again on its states, and autograd saves the activations of that group alone. A
file passes the gradient at the group's input to the group before it. The last group computes the loss.
The gradients' second moments have the same bytes as those of a pass over the whole model.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rankwise.params.fisher import FisherParams
from rankwise.statistics.accumulators import Position
from rankwise.statistics.fisher import group_of, record_gradients, summed_loss
from rankwise.statistics.hidden_states import Reader, Writer, states_argument
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed


class Graph:
    """Replaces the layers next to a layer group in the forward pass, so that autograd covers the group alone."""

    def __init__(self, before: Reader) -> None:
        self.before = before
        self.inputs = self.outputs = torch.empty(0)

    def enter(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the next states of the file, and require their gradient; replaces the layer before the group."""
        self.inputs = self.before.read(*args, **kwargs).requires_grad_()
        return self.inputs

    def leave(self, *args: Any, **kwargs: Any) -> Tensor:
        """Keep the group's output, and return it without a gradient; replaces the layer after the group."""
        self.outputs = states_argument(args, kwargs)
        return self.outputs.detach()


def stream_fisher(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    params: FisherParams,
    progress: Progress,
) -> list[Path]:
    """Return the files of every group's gradients, including those that a stopped pass had finished.

    ``ids`` [sequences, length]; `rankwise.statistics.fisher.gather_fisher` describes the result. Memory:
    embeddings and head, the weights of one group, its sums, and what autograd saves of it on one batch.
    Disk, until the pass ends: the hidden states before every group but the first, and the gradients at
    two of them, each sequences · length · width numbers of the model's dtype. Cost: one forward pass
    more than with the model in memory. A stopped pass loses only the current group.
    """
    last = len(groups) - 1
    order = [*range(last), *range(last, -1, -1)]
    with streamed.loaded(streamed.around()):
        for step in range(progress.done, len(order)):
            index = order[step]
            head = streamed.behind() if index == last else []
            with streamed.files.unchanged(), streamed.loaded(head + streamed.inside(groups[index])):
                streamed.ahead([groups[number] for number in order[step + 1 : step + 2]])
                if step < last:
                    _forward(streamed, ids, groups[index], params, progress, index)
                else:
                    _backward(streamed, ids, groups, params, progress, index)
    return [progress.statistics(index) for index in range(len(groups))]


@torch.no_grad()
def _forward(
    streamed: Streamed,
    ids: Tensor,
    group: list[int],
    params: FisherParams,
    progress: Progress,
    index: int,
) -> None:
    """Run one group on the states before it, and write the states after it to a file."""
    model = streamed.model
    with (
        Reader(progress.states(index), model.dtype) as before,
        Writer(progress.states(index + 1), model.dtype) as after,
        streamed.only(group, before.read, after.write),
    ):
        for part in tqdm(ids.split(params.batch), f"forward, group {index}", disable=None):
            model.get_decoder()(part.to(streamed.device), use_cache=False)
    progress.finish(before, after)


def _backward(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    params: FisherParams,
    progress: Progress,
    index: int,
) -> None:
    """Run one group forward and backward; write its sums and the gradient at its input to files."""
    model, family, group = streamed.model, streamed.family, groups[index]
    generator, position = torch.Generator().manual_seed(params.seed), Position(streamed.device)
    with (
        Reader(progress.states(index), model.dtype) as before,
        Reader(progress.gradients(index + 1), model.dtype) as output_gradients,
        Writer(progress.gradients(index), model.dtype) as input_gradients,
        record_gradients(model, family, group, streamed.weight_of, position) as sums,
    ):
        graph = Graph(before)
        with streamed.only(group, graph.enter, graph.leave):
            for batch in tqdm(ids.split(params.batch), f"backward, group {index}", disable=None):
                part = batch.to(streamed.device)
                if index == len(groups) - 1:
                    summed_loss(model, part, params, generator).backward()
                else:
                    model.get_decoder()(part, use_cache=False)
                    graph.outputs.backward(output_gradients.next(graph.outputs))
                position.refuse_not_finite()
                position.sequence += len(batch)
                if index > 0:
                    assert graph.inputs.grad is not None  # noqa: S101 (requires_grad is set)
                    input_gradients.append(graph.inputs.grad)
    group_of(group, sums, ids).save(progress.statistics(index))
    gone = [before.path, output_gradients.path]
    progress.finish(before, output_gradients, input_gradients, gone=gone)
