"""What every stage holds, keeps on disk and multiplies, in terms of the model's sizes.

Memory is that of the largest job of a stage: what its libraries take (`Plan.base`), and the tensors that
live at its fullest moment, as the docstrings say; files that are mapped count when their pages are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from plotly.offline import get_plotlyjs

from rankwise.gathering import needed
from rankwise.moments import Moments
from rankwise.params import Params, Sample
from rankwise.planning.sizes import SUM, Matrix, Sizes, gradients, moments_of, triangles, whole
from rankwise.validation import made

FLOAT = 4
"""Size of a float32 number [bytes]."""
TRAINED = 4
"""Numbers that AdamW holds for one it trains: the number, its gradient, two moments [-]."""
SAVED = 4
"""What autograd saves of a decoder block, in activations at their fullest (`Sizes.activations`) [-]."""
WORKSPACE = 5
"""Matrices of the size of a weight, in float64, that a decomposer and the errors behind it hold at once [-]."""
DATABASE = 2**20
"""MLflow's, of a few runs [bytes]."""
LOGITS = 3
"""Copies of a batch's predictions in float32: logits, their logarithm, a gradient or another model's [-]."""


@dataclass(frozen=True)
class Need:
    """What one stage takes."""

    stage: str
    jobs: int
    tensors: int
    """What the largest job holds on the device it computes on [bytes]."""
    beside: int = 0
    """What it holds beside that in main memory: mapped files, streams [bytes]."""
    disk: int = 0
    """What all jobs leave on the disk [bytes]."""
    scratch: int = 0
    """What the largest job has on the disk beside that while it runs [bytes]."""
    passed: float = 0.0
    """Tokens that pass the decoder blocks forward, all jobs; a backward pass to the activations counts as one more [tokens]."""
    heads: float = 0.0
    """Tokens whose predictions are computed, all jobs [tokens]."""
    products: float = 0.0
    """Other multiplications of matrices in float32, all jobs [-]."""
    factored: dict[tuple[str, tuple[int, int]], int] = field(default_factory=dict)
    """Section of decompose and shape [out, in] → matrices factored."""
    moved: int = 0
    """What all jobs read and write [bytes]."""

    def flops(self, sizes: Sizes) -> float:
        """Return the floating-point operations of forward and backward passes and products [-]."""
        head = sizes.vocabulary * sizes.width
        return 2 * (self.passed * sizes.linear_numbers + self.heads * head + self.products)


@dataclass(frozen=True)
class Study:
    """A study's parameters beside the sizes of its model."""

    params: Params
    sizes: Sizes
    items: int
    """Requests of all zero-shot tasks to one model [-]."""
    item_tokens: int
    """Tokens of these requests, all together [tokens]."""
    test_tokens: int
    """Tokens of all test texts [tokens]."""

    def needs(self) -> Iterator[Need]:
        """Yield what every stage takes, in order."""
        yield self.covariance()
        if gradients(self.params):
            yield self.curvature()
        yield self.decompose()
        yield self.allocate()
        yield self.build()
        if self.params.refinements():
            yield self.refine()
        yield self.evaluate()
        yield self.speed()
        page = len(get_plotlyjs())
        yield Need("report", 1, 0, disk=page)
        yield Need("track", 1, 0, disk=page + DATABASE)

    @property
    def origins(self) -> int:
        """Models that are looked at: the dense one, and steps on the way to runs [-]."""
        return len({run.origin for run in self.params.built().values()})

    @property
    def blocks(self) -> list[list[Matrix]]:
        """The matrices of every block of layers."""
        blocks = self.params.compute.blocks(self.sizes.layers)
        return [self.sizes.block(layers) for layers in blocks]

    def predictions(self, batch: int, length: int) -> int:
        """Return the bytes of a batch's predictions, all copies."""
        return LOGITS * FLOAT * batch * length * self.sizes.vocabulary

    def active(self, batch: int, length: int) -> int:
        """Return the bytes of one decoder block's activations for a batch."""
        return batch * length * self.sizes.activations * self.sizes.itemsize

    @property
    def around(self) -> int:
        """Bytes of the weights that no layer's linears hold: embeddings, head, norms."""
        return self.sizes.bytes - self.sizes.linear_numbers * self.sizes.itemsize

    @property
    def largest_block(self) -> int:
        """Bytes of the weights of the largest block of layers."""
        return max(sum(m.numbers for m in block) for block in self.blocks) * self.sizes.itemsize

    @property
    def states(self) -> int:
        """Bytes of the hidden states of all calibration text behind one layer."""
        text = self.params.sample.calibration
        return count(text) * self.sizes.width * self.sizes.itemsize

    def covariance(self) -> Need:
        """The model, sums of one pool and of all before, activations of one block.

        Streamed: one block of layers and what is around the layers, its sums likewise; hidden states lie on disk.
        """
        asked, text = self.params.covariance, self.params.sample.calibration
        sides = [moments_of(block, self.moments) for block in self.blocks]
        every = [side for block in sides for side in block]
        tokens = count(text)
        held, sums, scratch = self.sizes.bytes, whole(every), 0
        if asked.streaming:
            held, sums = self.around + self.largest_block, max(map(whole, sides))
            scratch = triangles(every) + 2 * self.states
        pools = 1 if asked.pools // asked.shards == 1 and asked.shards > 1 else 2
        jobs = self.origins * (1 if asked.shards == 1 else asked.shards + 1)
        tensors = held + pools * sums + self.active(asked.batch, text.length)
        kept = triangles(every) * self.origins
        parts = kept * asked.pools if asked.shards > 1 else 0
        return Need(
            "covariance",
            jobs,
            tensors,
            disk=kept + parts,
            scratch=scratch,
            passed=tokens * self.origins,
            products=tokens * self.origins * sum(side * side // 2 for side in every),
            moved=kept + 2 * parts + self.sizes.bytes * jobs,
        )

    def curvature(self) -> Need:
        """The model, sums of every linear, weights with more outputs than inputs again, what autograd saves.

        Streamed: one block of layers and what is around the layers, its sums likewise, what autograd saves of it;
        hidden states in front of every block lie on disk, and the text passes forward twice.
        """
        asked, text = self.params.curvature, self.params.sample.calibration
        blocks, layers, passes = [self.sizes.matrices], self.sizes.layers, 2
        held, scratch = self.sizes.bytes, 0
        sides = [matrix.smaller for matrix in self.sizes.matrices]
        if asked.streaming:
            blocks, layers, passes = self.blocks, self.params.compute.layers_per_job, 3
            held = self.around + self.largest_block
            scratch = triangles(sides) + len(blocks) * self.states
        wide = [sum(m.numbers for m in block if m.out > m.columns) for block in blocks]
        sums = max(whole([matrix.smaller for matrix in block]) for block in blocks)
        saved = SAVED * min(layers, self.sizes.layers) * self.active(asked.batch, text.length)
        tokens = count(text) * self.origins
        kept = triangles(sides) * self.origins
        return Need(
            "curvature",
            self.origins,
            held + sums + saved + self.predictions(asked.batch, text.length),
            beside=max(wide) * self.sizes.itemsize,
            disk=kept,
            scratch=scratch,
            passed=passes * tokens,
            heads=2 * tokens,
            products=tokens * (sum(wide) + sum(side * side // 2 for side in sides)),
            moved=kept + self.sizes.bytes * self.origins + 2 * scratch,
        )

    def decompose(self) -> Need:
        """One block's statistics, mapped and whole, its factors, and the work on the largest weight."""
        largest = 0
        for block in self.blocks:
            weights = sum(matrix.numbers for matrix in block)
            sides = moments_of(block, self.moments)
            if gradients(self.params):
                sides += [matrix.smaller for matrix in block]
            held = whole(sides) + triangles(sides) + 2 * weights * self.sizes.itemsize
            largest = max(largest, held)
        work = WORKSPACE * SUM * self.sizes.largest
        used = {(run.origin, run.decompose) for run in self.params.built().values()}
        factored: dict[tuple[str, tuple[int, int]], int] = {}
        for _, name in used:
            for shape, number in self.sizes.shapes().items():
                factored[name, shape] = factored.get((name, shape), 0) + number
        kept = self.factors * len(used)
        return Need(
            "decompose",
            len(used) * len(self.blocks),
            largest + work,
            disk=kept,
            factored=factored,
            moved=kept + (self.sizes.bytes + self.covariance().disk) * len(used),
        )

    def allocate(self) -> Need:
        """The factors, mapped; where candidates are scored also the model and two models' predictions."""
        text = self.params.sample.search
        tensors = beside = 0
        passed = 0.0
        scored = 0
        for run in self.params.built().values():
            method = made(self.params, "allocate", run.allocate)
            beside = max(beside, self.factors)
            if method.scores:
                batch = min(method.batch, text.sequences or method.batch)
                held = self.sizes.bytes + self.predictions(batch, text.length)
                tensors = max(tensors, held + self.active(batch, text.length))
                beside = max(beside, self.factors + FLOAT * count(text) * self.sizes.vocabulary)
                passed += (1 + method.trials) * count(text)
                scored += 1
        runs = len(self.params.built())
        return Need(
            "allocate",
            runs,
            tensors,
            beside=beside,
            passed=passed,
            heads=2 * passed,
            moved=self.factors * runs + self.sizes.bytes * scored,
        )

    def build(self) -> Need:
        """The dense model, the factors, mapped, the checkpoint's linears; then the work on the largest weight."""
        runs = self.params.built().values()
        kept = sum(self.checkpoint(run.keep) for run in runs)
        linears = self.sizes.linear_numbers * self.sizes.itemsize
        most = max(self.checkpoint(run.keep) for run in runs) - (self.sizes.bytes - linears)
        text = self.params.sample.calibration
        checked = min(self.params.build.check_sequences, count(text)) * text.length
        return Need(
            "build",
            len(runs),
            self.sizes.bytes + self.factors + most,
            disk=kept,
            passed=3 * checked * len(runs),
            heads=3 * checked * len(runs),
            products=self.sizes.linear_numbers * len(runs) * self.sizes.width,
            moved=kept + (self.sizes.bytes + self.factors) * len(runs),
        )

    def refine(self) -> Need:
        """Both models, hidden states of all text twice, and the optimiser's state of what is trained."""
        text = self.params.sample.calibration
        tensors, passed = 0, 0.0
        for run in self.params.refinements().values():
            method = made(self.params, "refine", run.refine)
            trained = sum(m.numbers for m in self.sizes.block([0]))
            streams = 2 * count(text) * self.sizes.width * FLOAT
            saved = SAVED * self.active(method.batch, text.length)
            held = 2 * self.sizes.bytes + streams + TRAINED * FLOAT * trained + saved
            tensors = max(tensors, held)
            passed += count(text) * (3 * method.epochs + 4)
        runs = len(self.params.refinements())
        kept = self.sizes.bytes * runs
        return Need("refine", runs, tensors, disk=kept, passed=passed, moved=3 * kept)

    def evaluate(self) -> Need:
        """One model, with divergence two, and a batch's predictions."""
        asked, text = self.params.evaluate, self.params.sample.test
        models = 2 if asked.divergence else 1
        runs = 1 + len(self.params.runs)
        tokens = (self.test_tokens * models + self.item_tokens) * runs
        return Need(
            "evaluate",
            runs,
            models * self.sizes.bytes
            + self.predictions(asked.batch, text.length)
            + self.active(asked.batch, text.length),
            passed=tokens,
            heads=tokens,
            moved=runs * models * self.sizes.bytes,
        )

    def speed(self) -> Need:
        """Two models, and a batch's predictions."""
        asked = self.params.speed
        runs = 1 + len(self.params.runs)
        most = max(asked.batches)
        passes = sum(asked.batches) * (asked.length + asked.new_tokens) * (asked.repeats + 1)
        return Need(
            "speed",
            runs,
            2 * self.sizes.bytes + self.predictions(most, asked.length),
            passed=2 * passes * runs,
            heads=2 * passes * runs,
            moved=2 * self.sizes.bytes * runs,
        )

    @property
    def moments(self) -> Moments:
        """What the forward pass gathers."""
        asked = self.params.covariance
        return asked.gathered if asked.moments else needed(self.params)

    @property
    def factors(self) -> int:
        """Bytes of one method's factors: all ranks up to break-even, as many numbers as the weights."""
        return self.sizes.linear_numbers * self.sizes.itemsize

    def checkpoint(self, keep: float | None) -> int:
        """Return the bytes of a checkpoint."""
        linears = self.sizes.linear_numbers * self.sizes.itemsize
        return round(self.sizes.bytes - linears * (1 - (keep or 1.0)))


def count(text: Sample) -> int:
    """Return the tokens of some windows; of all there are it is not known before the text is read."""
    return (text.sequences or 0) * text.length
