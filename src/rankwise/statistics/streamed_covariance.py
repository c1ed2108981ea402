"""The covariance pass of a streamed model, one layer group at a time; it can resume after every group."""

from pathlib import Path

from torch import Tensor

from rankwise.params.covariance import CovarianceParams
from rankwise.statistics.covariance import Pools, gather_covariance, gather_pools
from rankwise.statistics.hidden_states import Reader, Writer
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed


def stream_covariance(
    streamed: Streamed,
    ids: Tensor,
    groups: list[list[int]],
    params: CovarianceParams,
    progress: Progress,
    shard: int | None = None,
) -> list[Path]:
    """Return the files of every group's statistics, including those that a stopped pass had finished.

    With a ``shard``, one file per pool and group of that shard, group after group within a pool.

    Memory: embeddings, the weights of one group, its statistics and its activations on one batch. Disk,
    until the pass ends: twice the hidden states, each sequences · length · width numbers of the model's
    dtype. Cost: that of `rankwise.statistics.covariance.gather_covariance`, which this calls group by
    group, and an embedding of the text a group. A stopped pass loses only the current group.
    """
    with streamed.loaded(streamed.around()):
        for index in range(progress.done, len(groups)):
            group = groups[index]
            with (
                streamed.files.unchanged(),
                streamed.loaded(streamed.inside(group)),
                Reader(progress.states(index), streamed.model.dtype) as before,
                Writer(progress.states(index + 1), streamed.model.dtype) as after,
                streamed.only(group, before.read, after.write),
            ):
                model, family = streamed.model, streamed.family
                weight_of = streamed.weight_of
                streamed.ahead(groups[index + 1 : index + 2])
                if shard is None:
                    [statistics] = gather_covariance(model, family, weight_of, ids, [group], params)
                else:
                    pools = Pools.of_shard(ids, params, shard)
                    parts = gather_pools(model, family, weight_of, pools, [group], params)
                    for number, [part] in enumerate(parts):  # one by one: memory holds one pool
                        part.save(progress.statistics(index, number))
                    del part
            if shard is None:
                statistics.save(progress.statistics(index))
                del statistics  # free it before the next group allocates its own
            progress.finish(before, after, gone=[before.path])
    pool_numbers = [None] if shard is None else range(params.pools // params.shards)
    return [
        progress.statistics(index, part) for part in pool_numbers for index in range(len(groups))
    ]
