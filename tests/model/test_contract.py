"""What every family promises, on tiny random models: its file in the folder is what makes it tested."""

import json
import math
import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from rankwise.allocate.hyperopt import Hyperopt
from rankwise.allocate.mgaa import MGAA
from rankwise.allocate.problem import Trials
from rankwise.allocate.uniform import Uniform
from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.artifacts.gradients import GroupFisher
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.budget.costs import Kept, keep_reached
from rankwise.budget.spending import Budget
from rankwise.checkpoint import loading, saving
from rankwise.checkpoint.assembly import assemble_checkpoint
from rankwise.cli import app
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.kfac import KFAC
from rankwise.decompose.svd import SVD
from rankwise.evaluate.perplexity import mean_loss, window_losses
from rankwise.files.atomic import write_json
from rankwise.inputs.tokenizer import read_tokenizer
from rankwise.model.family import Family
from rankwise.model.shapes import shape_of
from rankwise.model.weights import Weights
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.params.target import Target
from rankwise.records.model import ModelManifest
from rankwise.refine.base import Refinement
from rankwise.refine.blockwise import Blockwise
from rankwise.search.problem import build_problem, read_matrices
from rankwise.search.scorer import SearchModel
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed
from rankwise.statistics.streamed_covariance import stream_covariance
from rankwise.statistics.streamed_fisher import stream_fisher
from tests.families import CPU, LAYERS, cases, ids, tiny, written
from tests.saved_models import save_tokenizer

ASKED = CovarianceParams(pools=4, batch=2, moments="inputs")


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(ids(2)).logits


@dataclass
class Case:
    """A model of one family on disk, and what was gathered of it."""

    name: str
    family: Family
    manifest: ModelManifest
    folder: Path
    statistics: GroupStatistics
    gradients: GroupFisher
    logits: torch.Tensor
    """Of the library's own model."""

    def model(self) -> nn.Module:
        return loading.load_dense(self.manifest)[0]


@pytest.fixture(scope="module", params=cases())
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, family = tiny(request.param)
    expected = logits(model)
    save_tokenizer(folder)
    manifest = written(folder, model, family)
    model, _ = loading.load_dense(manifest)
    weights = Weights(folder, family)
    [statistics] = gather_covariance(model, family, weights.get, ids(), [LAYERS], ASKED)
    [gradients] = gather_gradients(model, family, weights.get, ids(), [LAYERS], FisherParams())
    return Case(request.param, family, manifest, folder, statistics, gradients, expected)


@pytest.fixture(scope="module")
def compressed(case, tmp_path_factory):
    """The same, factored by our method at keep 0.6, in memory and as a checkpoint."""
    factors = dict(
        factor_group(
            Weights(case.folder, case.family), case.statistics, KFAC(), CPU, case.gradients
        )
    )
    stored = tmp_path_factory.mktemp("factors") / "group_0"
    GroupFactors("kfac", LAYERS, factors).save(stored, torch.float32)
    factors = GroupFactors.load(stored).linears
    matrices = read_matrices(case.manifest, "float32", factors)
    budget = Budget(matrices, Target("keep", 0.6))
    problem = build_problem(budget, case.manifest, factors, None, Trials())
    choices = Uniform(multiple=1, floor=0.05)(problem)
    paths = []
    for layer in LAYERS:
        of_layer = {linear.name for linear in case.family.linears([layer])}
        some = {name: found for name, found in factors.items() if name in of_layer}
        paths.append(stored.with_name(f"layer_{layer}"))
        GroupFactors("kfac", [layer], some).save(paths[-1], torch.float32)
    model, meant = assemble_checkpoint(Streamed.of(case.manifest, CPU), paths, choices, ids())
    tokenizer = read_tokenizer(case.folder)
    folder = tmp_path_factory.mktemp("checkpoint") / "it"
    saving.save_checkpoint(model, tokenizer, folder, "it", torch.float32)
    return model, factors, choices, problem, meant, folder


def test_a_model_put_together_while_streaming_is_the_same(case, compressed):
    """As one in whose linears factors were put while all of it was in memory; and it measures the same."""
    model, factors, choices, _, meant, _ = compressed
    whole = case.model()
    # Experts that lie apart in memory are multiplied at other addresses: the last digit may differ.
    dense_loss = mean_loss(window_losses(whole, ids(), 1))
    assert meant.dense_loss == pytest.approx(dense_loss, rel=1e-7)
    assert meant.dense_numbers == sum(
        p.numel() for name in choices for p in whole.get_submodule(name).parameters()
    )
    search = SearchModel(whole, factors, ids(), batch=1)
    assert math.exp(meant.loss) == pytest.approx(search.score(choices).perplexity, rel=1e-6)
    whole = case.model()
    for name, kept in choices.items():
        if kept is not None:
            saving.replace_linear(whole, name, factors[name], kept)
    expected, found = whole.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_model_that_is_loaded_is_the_library_s(case):
    torch.testing.assert_close(logits(case.model()), case.logits, rtol=1e-4, atol=1e-4)


def test_every_weight_matrix_of_a_block_is_named_exactly_once(case):
    named = [linear.name for linear in case.family.linears(LAYERS)]
    dense = [f"{case.family.layers}.{n}.{path}" for n in LAYERS for path in case.family.dense]
    there = [
        name.removesuffix(".weight")
        for name, parameter in case.model().named_parameters()
        if name.startswith(f"{case.family.layers}.") and parameter.ndim > 1
    ]
    assert sorted(named + dense) == sorted(there)


def test_linears_of_one_site_see_the_same_tensor(case):
    model, seen = case.model(), {}
    for linear in case.family.linears(LAYERS):
        model.get_submodule(linear.name).register_forward_pre_hook(
            lambda _, x, at=linear: seen.setdefault((at.layer, at.site), []).append(x[0])
        )
    logits(model)
    assert len(seen) > 4
    for tensors in seen.values():
        assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)


def test_sublayers_lead_from_a_layer_s_input_to_its_output(case):
    """State before, plus what sublayers add (or as they give it) = state behind, in the model's own terms."""
    model, states = case.model(), {}

    def first(output):
        return output[0] if isinstance(output, tuple) else output

    group = model.get_submodule(f"{case.family.layers}.1")
    group.register_forward_hook(lambda _, x, y: states.update(before=x[0], behind=first(y)))
    for name, sublayer in case.family.sublayers.items():
        group.get_submodule(sublayer.adds or sublayer.gives).register_forward_hook(
            lambda _, x, y, name=name: states.update({name: first(y)})
        )
    logits(model)
    reached = states["before"]
    for name, sublayer in case.family.sublayers.items():
        output = states[name].view(reached.shape)
        reached = reached + output if sublayer.adds else output
    torch.testing.assert_close(reached, states["behind"])


def test_parallel_says_what_a_sublayer_reads(case):
    """What attention does changes what the MLP reads, unless both read the layer's input."""
    model, read = case.model(), []
    group = model.get_submodule(f"{case.family.layers}.1")
    first, *_, last = case.family.sublayers.values()
    site = next(iter(last.sites.values()))
    path = next(iter(site.values())).replace("{expert}", "0")
    group.get_submodule(path).register_forward_pre_hook(lambda _, x: read.append(x[0].clone()))
    model(ids(64))
    group.get_submodule(first.adds or first.gives).register_forward_hook(
        lambda _, x, y: (y[0] * 3, *y[1:]) if isinstance(y, tuple) else y * 3
    )
    model(ids(64))
    same = read[0].shape == read[1].shape and torch.equal(*read)
    assert same == case.family.parallel


def test_statistics_are_those_of_the_tokens_that_a_linear_sees(case):
    model, seen = case.model(), {}
    for linear in case.family.linears(LAYERS):
        model.get_submodule(linear.name).register_forward_pre_hook(
            lambda _, x, at=linear: seen.setdefault(at, []).append(x[0].flatten(0, -2).double())
        )
    with torch.no_grad():
        for part in ids().split(2):
            model(part)
    for linear, parts in seen.items():
        x, found = torch.cat(parts), case.statistics.sites[linear.layer, linear.site]
        assert found.tokens == len(x) == int(found.pool_tokens.sum())
        torch.testing.assert_close(found.second_moment, x.T @ x / len(x), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.mean, x.mean(0), rtol=1e-4, atol=1e-6)
        if len(parts) == 4:
            within = sum((p - p.mean(0)).T @ (p - p.mean(0)) for p in parts) / (len(x) - 4)
            torch.testing.assert_close(found.covariance, within, rtol=1e-4, atol=1e-5)
    assert set(case.statistics.similarity) == {
        (n, s) for n in LAYERS for s in case.family.sublayers
    }
    assert all(-1 <= cosine <= 1 for cosine in case.statistics.similarity.values())


def test_gradients_are_gathered_at_every_linear(case):
    model = case.model()
    for linear in case.family.linears(LAYERS):
        found = case.gradients.linears[linear.name]
        shape = shape_of(model.get_submodule(linear.name))
        assert len(found.squares) == shape[0]
        assert len(found.second) == min(shape)
        assert float(found.squares.sum()) > 0


def test_statistics_gathered_while_streaming_are_the_same(case, tmp_path):
    """Windows, positions and masks are the architecture's own, in a pass that never holds the model.

    Nor does it matter how many jobs share the pools.
    """
    asked = CovarianceParams(pools=4, batch=2, moments="smaller", shards=2)
    model, weights, groups = case.model(), Weights(case.folder, case.family), [[0], [1]]
    whole = gather_covariance(model, case.family, weights.get, ids(), groups, asked)
    source = Streamed.of(case.manifest, CPU)
    paths = stream_covariance(source, ids(), groups, asked, Progress(tmp_path / "work", ""))
    parts = [
        part
        for shard in range(2)
        for part in stream_covariance(
            source, ids(), groups, asked, Progress(tmp_path / f"{shard}", ""), shard
        )
    ]
    for group, expected in enumerate(whole):
        expected.save(tmp_path / "whole")
        assert paths[group].read_bytes() == (tmp_path / "whole").read_bytes()
        first, *others = [GroupStatistics.load(path) for path in parts[group::2]]
        for other in others:
            first.add(other)
        first.save(tmp_path / "merged")
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_gradients_gathered_while_streaming_are_the_same(case, tmp_path):
    asked = FisherParams(batch=3)
    model, weights, groups = case.model(), Weights(case.folder, case.family), [[0], [1]]
    whole = gather_gradients(model, case.family, weights.get, ids(), groups, asked)
    source, progress = Streamed.of(case.manifest, CPU), Progress(tmp_path / "work", "")
    paths = stream_fisher(source, ids(), groups, asked, progress)
    for path, expected in zip(paths, whole, strict=True):
        expected.save(tmp_path / "whole")
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("original", [True, False])
def test_weights_are_read_as_the_library_loads_them(case, tmp_path, original):
    """However files name and arrange tensors: experts apart or in one, with the first name or without."""
    model = tiny(case.name)[0]
    model.save_pretrained(tmp_path, save_original_format=original)
    if not original:
        file = tmp_path / "model.safetensors"
        start = case.family.layers.partition(".")[0]
        stored = {name.removeprefix(f"{start}."): t for name, t in load_file(file).items()}
        save_file(stored, file, {"format": "pt"})
    weights, loaded = Weights(tmp_path, case.family), case.model()
    for linear in case.family.linears(LAYERS):
        module = loaded.get_submodule(linear.name)
        expected = module.weight.T if case.family.transposed else module.weight
        torch.testing.assert_close(weights.get(linear.name), expected.detach())
        assert weights.shape(linear.name) == tuple(expected.shape) == shape_of(module)
        bias = weights.bias(linear.name)
        assert weights.has_bias(linear.name) == (bias is not None)
        if bias is not None or getattr(module, "bias", None) is not None:
            torch.testing.assert_close(bias, module.bias.detach())
    source = Streamed.of(case.manifest, CPU)
    weights.ahead(source.inside(LAYERS))  # what cannot be found raises


def test_prepare_finds_it_in_its_folder(case, tmp_path):
    asked = {"source": str(case.folder), "revision": None, "layers": 2, "dtype": "float32"}
    write_json(tmp_path / "section.json", asked)
    arguments = ["--params", tmp_path / "section.json", "--out", tmp_path / "model.json"]
    command = ["prepare", "model", *map(str, arguments)]
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert ModelManifest.load(tmp_path / "model.json") == case.manifest


def test_full_rank_leaves_logits_unchanged(case):
    model, weights = case.model(), Weights(case.folder, case.family)
    for linear in case.family.linears(LAYERS):
        weight = weights.get(linear.name).double()
        inputs = case.statistics.sites[linear.layer, linear.site]
        whole = SVD()(weight, inputs, min(weight.shape))
        bias = weights.bias(linear.name)
        factors = Factors(whole.left, whole.right, whole.spectrum, offset=bias)
        saving.replace_linear(model, linear.name, factors, Kept(min(weight.shape)))
    torch.testing.assert_close(logits(model), case.logits, rtol=1e-4, atol=1e-4)


def test_the_budget_counts_what_the_model_holds(case, compressed):
    model, _, choices, problem, *_ = compressed
    dense = case.model()
    for name, matrix in problem.matrices.items():
        for holder, choice in ((dense, None), (model, choices[name])):
            held = sum(p.numel() for p in holder.get_submodule(name).parameters())
            assert held == matrix.parameters(choice)


def test_a_search_finds_the_dense_model_where_nothing_is_cut(case, compressed):
    _, factors, choices, *_ = compressed
    search = SearchModel(case.model(), factors, ids(4, 8), batch=2)
    assert search.score(dict.fromkeys(choices)).kl == pytest.approx(0, abs=1e-6)
    cut = search.score(choices)
    model = compressed[0]
    with torch.no_grad():
        lost = model(ids(4, 8)).logits[:, :-1].float().log_softmax(-1)
    nll = -lost.gather(-1, ids(4, 8)[:, 1:, None]).mean()
    assert cut.perplexity == pytest.approx(float(nll.exp()), rel=1e-4)


def test_allocators_group_by_the_family_s_own_types(case, compressed):
    """A search has a variable a type, all experts sharing theirs; sublayers get shares by their likeness."""
    _, factors, _, problem, *_ = compressed
    search = SearchModel(case.model(), factors, ids(2, 8), batch=2)
    problem = replace(
        problem, score=search.score, trials=Trials(), similarity=case.statistics.similarity
    )
    for allocator in (Hyperopt(multiple=1, floor=0.05, trials=2), MGAA(multiple=1, floor=0.05)):
        reached = keep_reached(problem.matrices, allocator(problem))
        assert 0.57 < reached <= 0.6
    expected = {"qk" if kind in "qk" else kind for kind in case.family.kinds()}
    assert {name.removesuffix(".0") for name in problem.trials.rows[1]["shares"]} == expected


def test_a_block_is_refined_in_its_own_terms(case, compressed):
    """The curve begins with the error of the compressed group, computed here by the whole model."""
    theirs, ours, outputs = case.model(), deepcopy(compressed[0]), []
    for model in (theirs, ours):
        group = model.get_submodule(f"{case.family.layers}.1")
        handle = group.register_forward_hook(
            lambda _, x, y: outputs.append(y[0] if isinstance(y, tuple) else y)
        )
        with torch.no_grad():
            model(ids())
        handle.remove()
    wanted, made = outputs
    error = (made[6:] - wanted[6:]).square().mean() / wanted[:6].square().mean()
    problem = Refinement(theirs, ours, case.family, ids(), 6)
    curves = Blockwise(epochs=1, batch=2, held_out=0.25, learning_rate=1e-12)(problem)
    assert len(curves) == 2
    assert curves[1].held_out[0] == pytest.approx(float(error), rel=1e-3)


@pytest.fixture(scope="module")
def elsewhere():
    """A process that never built a model: give it a folder and token ids, it says what it loads."""
    code = (
        "import json, sys, torch; from pathlib import Path; from rankwise.checkpoint import loading\n"
        "torch.set_num_threads(1)\n"
        "for line in sys.stdin:\n"
        "    path, ids = json.loads(line)\n"
        "    model, _ = loading.load_folder(Path(path))\n"
        "    with torch.no_grad():\n"
        "        logits = model(torch.tensor(ids)).logits\n"
        "    print(json.dumps(logits.flatten().tolist()), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def ask(folder):
            process.stdin.write(json.dumps([str(folder), ids(2).tolist()]) + "\n")
            process.stdin.flush()
            return torch.tensor(json.loads(process.stdout.readline()))

        yield ask


def test_a_checkpoint_loads_in_another_process(compressed, elsewhere):
    model, *_, folder = compressed
    torch.testing.assert_close(elsewhere(folder), logits(model).flatten(), rtol=1e-5, atol=1e-5)
