"""The covariance pass of a model that is never whole in memory, resumable at every group."""

from pathlib import Path

from torch import Tensor

from rankwise.params.stages import CovarianceParams
from rankwise.statistics.covariance import Pools, gather_covariance, gather_pools
from rankwise.statistics.hidden_states import Reader, Writer
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed


def stream_covariance(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    asked: CovarianceParams,
    progress: Progress,
    shard: int | None = None,
) -> list[Path]:
    """Return the files of every group's statistics, those that a stopped pass had finished included.

    Of a ``shard`` those of every pool of it apart, group after group within a pool.

    Memory: embeddings, the weights of one group, its statistics and its activations on one batch. Disk,
    until the pass ends: twice the hidden states, sequences · length · width numbers of the model's
    precision each. Cost: that of `rankwise.statistics.covariance.gather`, which this calls group by group, and
    an embedding of the text a group. A pass that is stopped loses the group it was at.
    """
    with streamed.loaded(streamed.around()):
        for at in range(progress.done, len(groups)):
            group = groups[at]
            with (
                streamed.files.unchanged(),
                streamed.loaded(streamed.inside(group)),
                Reader(progress.states(at), streamed.model.dtype) as before,
                Writer(progress.states(at + 1), streamed.model.dtype) as behind,
                streamed.only(group, before.read, behind.write),
            ):
                model, family = streamed.model, streamed.family
                weight_of = streamed.weight_of
                streamed.ahead(groups[at + 1 : at + 2])
                if shard is None:
                    [whole] = gather_covariance(model, family, weight_of, ids, [group], asked)
                else:
                    pools = Pools.of_shard(ids, asked, shard)
                    parts = gather_pools(model, family, weight_of, pools, [group], asked)
                    for number, [part] in enumerate(parts):  # as they come: memory holds one
                        part.save(progress.statistics(at, number))
                    del part
            if shard is None:
                whole.save(progress.statistics(at))
                del whole  # or the next group would be gathered beside it
            progress.finish(before, behind, gone=[before.path])
    kept = [None] if shard is None else range(asked.pools // asked.shards)
    return [progress.statistics(at, part) for part in kept for at in range(len(groups))]
