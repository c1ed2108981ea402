"""The covariance pass of a model that is never whole in memory, resumable at every block."""

from pathlib import Path

from torch import Tensor

from rankwise.params.stages import CovarianceParams
from rankwise.statistics.covariance import Pools, gather, pool_by_pool
from rankwise.statistics.hidden_states import Reader, Writer
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed


def stream(
    streamed: Streamed,
    ids: Tensor,
    blocks: list[list[int]],
    asked: CovarianceParams,
    progress: Progress,
    shard: int | None = None,
) -> list[Path]:
    """Return the files of every block's statistics, those that a stopped pass had finished included.

    Of a ``shard`` those of every pool of it apart, block after block within a pool.

    Memory: embeddings, the weights of one block, its statistics and its activations on one batch. Disk,
    until the pass ends: twice the hidden states, sequences · length · width numbers of the model's
    precision each. Cost: that of `rankwise.statistics.covariance.gather`, which this calls block by block, and
    an embedding of the text a block. A pass that is stopped loses the block it was at.
    """
    with streamed.loaded(streamed.around()):
        for at in range(progress.done, len(blocks)):
            block = blocks[at]
            with (
                streamed.files.unchanged(),
                streamed.loaded(streamed.inside(block)),
                Reader(progress.states(at), streamed.model.dtype) as before,
                Writer(progress.states(at + 1), streamed.model.dtype) as behind,
                streamed.only(block, before.read, behind.write),
            ):
                model, family = streamed.model, streamed.family
                weight_of = streamed.weight_of
                streamed.ahead(blocks[at + 1 : at + 2])
                if shard is None:
                    [whole] = gather(model, family, weight_of, ids, [block], asked)
                else:
                    pools = Pools.of_shard(ids, asked, shard)
                    parts = pool_by_pool(model, family, weight_of, pools, [block], asked)
                    for number, [part] in enumerate(parts):  # as they come: memory holds one
                        part.save(progress.statistics(at, number))
                    del part
            if shard is None:
                whole.save(progress.statistics(at))
                del whole  # or the next block would be gathered beside it
            progress.finish(before, behind, gone=[before.path])
    kept = [None] if shard is None else range(asked.pools // asked.shards)
    return [progress.statistics(at, part) for part in kept for at in range(len(blocks))]
