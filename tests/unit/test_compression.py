"""From statistics to a checkpoint on a tiny model: every route to the same compressed model agrees."""

import json
import math
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankwise.allocate.problem import Trials
from rankwise.allocate.uniform import Uniform
from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.budget.costs import Kept
from rankwise.budget.spending import Budget
from rankwise.checkpoint import loading, saving
from rankwise.checkpoint.weight_files import count_parameters, read_headers
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_group
from rankwise.errors import RankwiseError
from rankwise.inputs.sources import MODEL_FILES, hash_files
from rankwise.linalg.packed import whole
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.runs import Run
from rankwise.params.stages import CovarianceParams, FisherParams
from rankwise.params.target import Target
from rankwise.records.inputs import ModelManifest
from rankwise.records.made import CheckpointManifest
from rankwise.search.problem import build_problem, build_record, read_matrices
from rankwise.search.scorer import SearchModel
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of

ARCHITECTURE = "LlamaForCausalLM"
CPU = torch.device("cpu")


def statistics_of(model, ids, blocks, batch=4):
    asked = CovarianceParams(pools=4, batch=batch)
    return gather_covariance(model, family_of(ARCHITECTURE), weight_of(model), ids, blocks, asked)


def save_tokenizer(folder):
    words = {f"w{i}": i for i in range(67)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))  # noqa: S106
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "w0", "eos_token": "w66"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)


def save_model(model, folder):
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return ModelManifest(
        source=str(folder),
        revision=None,
        dtype="float32",
        architecture=ARCHITECTURE,
        family=family_of(ARCHITECTURE),
        layers=model.config.num_hidden_layers,
        parameters=model.num_parameters(),
        files=hash_files(folder, MODEL_FILES),
    )


@pytest.fixture(params=sorted(decomposers))
def compressed(request, tmp_path):
    """Manifest, factors and choices of a tiny model with attention biases, by every decomposer."""
    model = tiny_llama(attention_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
    manifest = save_model(model, tmp_path / "dense")
    family = family_of(ARCHITECTURE)
    asked = CovarianceParams(pools=4, batch=2)
    blocks = gather_covariance(model, family, weight_of(model), random_ids(), [[0, 1]], asked)
    method = decomposers[request.param]()
    [bent] = gather_gradients(
        model, family, weight_of(model), random_ids(), [[0, 1]], FisherParams()
    )
    factors = dict(factor_group(Weights(tmp_path / "dense", family), blocks[0], method, CPU, bent))
    GroupFactors(request.param, [0, 1], factors).save(tmp_path / "factors", torch.float32)
    factors = GroupFactors.load(tmp_path / "factors").linears
    matrices = read_matrices(manifest, "float32", factors)
    problem = build_problem(
        Budget(matrices, Target("keep", 0.7)), manifest, factors, None, Trials()
    )
    allocator = Uniform(multiple=1, floor=0.05)
    choices = allocator(problem)
    run = Run(decompose=request.param, allocate="uniform", keep=0.7)
    return (
        manifest,
        factors,
        choices,
        build_record("it", run, allocator, problem, choices, manifest),
    )


def build(manifest, factors, choices, folder):
    dense, tokenizer = loading.load_dense(manifest)
    for name, kept in choices.items():
        if kept is not None:
            saving.replace_linear(dense, name, factors[name], kept)
    saving.save_checkpoint(dense, tokenizer, folder, "it", torch.float32)
    return dense


def test_statistics_equal_a_reference_and_shards_merge():
    model = tiny_llama().double()
    family = family_of(ARCHITECTURE)
    ids = random_ids()
    seen = {}

    def keep(name):
        return lambda _, x: seen.setdefault(name, []).append(x[0].reshape(-1, x[0].shape[-1]))

    hook = model.get_submodule("model.layers.1.mlp.down_proj").register_forward_pre_hook(
        keep("down")
    )
    model(ids)
    hook.remove()
    x = torch.cat(seen["down"])
    asked = CovarianceParams(pools=4, batch=3)
    [block] = gather_covariance(model, family, weight_of(model), ids, [[0, 1]], asked)
    found = block.sites[1, "mlp_out"]
    torch.testing.assert_close(whole(found.second), x.T @ x)
    torch.testing.assert_close(found.pool_means, x.view(4, -1, x.shape[-1]).mean(1))
    asked = CovarianceParams(pools=2, batch=3)
    halves = [
        gather_covariance(model, family, weight_of(model), part, [[0, 1]], asked)[0]
        for part in ids.split(8)
    ]
    merged = halves[0].sites[1, "mlp_out"].merge(halves[1].sites[1, "mlp_out"])
    torch.testing.assert_close(merged.covariance, found.covariance)


def test_similarity_is_the_mean_cosine_around_every_sublayer():
    model = tiny_llama().double()
    ids = random_ids()
    states = {}

    def keep(name):
        return lambda _, inputs: states.update({name: inputs[0]})

    for name, path in {"before": "", "between": "post_attention_layernorm"}.items():
        module = model.get_submodule(f"model.layers.1.{path}".rstrip("."))
        module.register_forward_pre_hook(keep(name))
    model.model.norm.register_forward_pre_hook(keep("behind"))
    with torch.no_grad():
        model(ids)

    def cosine(a, b):
        return float(torch.cosine_similarity(states[a], states[b], dim=-1).mean())

    expected = {
        (1, "attention"): cosine("before", "between"),
        (1, "mlp"): cosine("between", "behind"),
    }
    blocks = statistics_of(model, ids, [[0], [1]], batch=3)
    assert list(blocks[0].similarity) == [(0, "attention"), (0, "mlp")]
    assert blocks[1].similarity == pytest.approx(expected, rel=1e-6)


def test_nan_in_the_model_names_layer_site_and_sequence():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = float("nan")
    with pytest.raises(
        RankwiseError, match=r"layer 1, site mlp_out: inputs are NaN.*in sequence 0 \(pool 0\)"
    ):
        statistics_of(model, random_ids(), [[0, 1]])
    model = tiny_llama()
    model.model.embed_tokens.weight.data[66] = float("nan")
    ids = random_ids().clamp_max(65)
    ids[11, 7:] = 66
    with pytest.raises(
        RankwiseError,
        match=r"layer 0, site attention_in: inputs are NaN.*in sequence 11 \(pool 2\)",
    ):
        statistics_of(model, ids, [[0, 1]], batch=3)
    model = tiny_llama()
    model.model.layers[1].mlp.down_proj.weight.data[3, 3] = float("inf")
    with pytest.raises(
        RankwiseError, match=r"layer 1, sublayer mlp: hidden states are NaN.*in sequence 0"
    ):
        statistics_of(model, random_ids(), [[0, 1]])


def test_nan_in_a_weight_names_the_linear(tmp_path, tiny_statistics):
    model = tiny_llama()
    model.model.layers[0].self_attn.o_proj.weight.data[0, 0] = float("inf")
    save_model(model, tmp_path / "m")
    block = GroupStatistics([0, 1], tiny_statistics)
    with pytest.raises(RankwiseError, match=r"layers.0.self_attn.o_proj: the weight holds NaN"):
        list(
            factor_group(
                Weights(tmp_path / "m", family_of(ARCHITECTURE)), block, decomposers["svd"](), CPU
            )
        )


def as_masks(factors, kept):
    """A choice as masks that let its first components and entries pass; every linear here has one."""
    entries = 0 if factors.sparse is None else len(factors.sparse.places)
    return np.arange(factors.max_rank) < kept.rank, np.arange(entries) < kept.entries


def test_sliced_search_model_equals_the_built_one(compressed, tmp_path):
    manifest, factors, choices, _ = compressed
    built = build(manifest, factors, choices, tmp_path / "c")
    dense, _ = loading.load_dense(manifest)
    reference, _ = loading.load_dense(manifest)
    ids = random_ids(6, 12, seed=9)
    search = SearchModel(dense, factors, ids, batch=4)
    score = search.score(choices)
    with torch.no_grad():
        ours = built(ids).logits[:, :-1].double().log_softmax(-1)
        theirs = reference(ids).logits[:, :-1].double().log_softmax(-1)
    loss = -ours.gather(-1, ids[:, 1:, None]).mean()
    kl = (ours.exp() * (ours - theirs)).sum(-1).mean()
    assert score.perplexity == pytest.approx(float(loss.exp()), rel=1e-4)
    assert score.kl == pytest.approx(float(kl), rel=1e-3, abs=1e-6)
    each = -ours.gather(-1, ids[:, 1:, None]).mean((1, 2))
    torch.testing.assert_close(torch.tensor(score.losses).double(), each, rtol=1e-4, atol=1e-4)
    some = search.score(choices, [1, 5])
    assert some.losses == pytest.approx([score.losses[1], score.losses[5]], rel=1e-6)
    assert some.perplexity == pytest.approx(float(each[[1, 5]].mean().exp()), rel=1e-4)
    some_kl = (ours.exp() * (ours - theirs)).sum(-1)[[1, 5]].mean()
    assert some.kl == pytest.approx(float(some_kl), rel=1e-3, abs=1e-6)
    masks = {name: as_masks(factors[name], choices[name]) for name in factors}
    if not any(f.sparse is not None and f.sparse.refits is not None for f in factors.values()):
        # A mask lets through any entries, so it knows no values that were fitted to how many there are.
        masked = search.score_masks(masks)
        assert masked.perplexity == pytest.approx(score.perplexity, rel=1e-4)
    untouched = search.score(dict.fromkeys(choices))
    assert untouched.kl == pytest.approx(0, abs=1e-6)


def test_no_room_for_the_dense_model_s_predictions_is_a_sentence(compressed):
    """All room is taken at once: where a disk fills up under mapped memory, the kernel ends the process."""
    manifest, factors, _, _ = compressed
    dense, _ = loading.load_dense(manifest)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (1000, before[1])
    )  # answers as a full disk or a quota does
    try:
        with pytest.raises(RankwiseError, match=r"dense could not be written .*TMPDIR"):
            SearchModel(dense, factors, random_ids(4, 8), batch=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_trial_copies_no_weight_and_factors_nothing(compressed, monkeypatch):
    manifest, factors, choices, _ = compressed
    dense, _ = loading.load_dense(manifest)
    search = SearchModel(dense, factors, random_ids(4, 8), batch=4)
    for name in ("svd", "eigh", "qr", "cholesky"):
        monkeypatch.setattr(torch.linalg, name, lambda *_: pytest.fail("factored in a trial"))
    monkeypatch.setattr(torch.Tensor, "clone", lambda *_: pytest.fail("copied in a trial"))
    search.score(choices)
    for name, sliced in search.sliced.items():
        assert sliced.factors.right.data_ptr() == factors[name].right.data_ptr()


def test_budget_counts_what_the_checkpoint_holds(compressed, tmp_path):
    manifest, factors, choices, record = compressed
    build(manifest, factors, choices, tmp_path / "c")
    names = family_of(ARCHITECTURE).linears([0, 1])
    stored = load_file(tmp_path / "c" / "model.safetensors")
    bytes_of = {
        linear.name: [t.nbytes for key, t in stored.items() if key.startswith(f"{linear.name}.")]
        for linear in names
    }
    for name, found in bytes_of.items():
        assert math.ceil(sum(found) / 4) == record.linears[name].parameters
    count_parameters = sum(math.ceil(sum(found) / 4) for found in bytes_of.values())
    reference = tiny_llama(attention_bias=True)
    before = sum(
        p.numel() for linear in names for p in reference.get_submodule(linear.name).parameters()
    )
    assert count_parameters / before == pytest.approx(record.keep_reached, abs=1e-12)
    assert count_parameters == sum(linear.parameters for linear in record.linears.values())
    assert record.keep_reached <= 0.7
    entries = sum(linear.entries for linear in record.linears.values())
    assert (record.keep_index_free < record.keep_reached) == (entries > 0)


def test_full_rank_leaves_logits_unchanged(compressed, tmp_path):
    """Rank min(out, in) in every linear is another way to write the same model."""
    manifest, factors, _, _ = compressed
    model, _ = loading.load_dense(manifest)
    ids = random_ids(2, 10)
    with torch.no_grad():
        before = model(ids).logits
        [block] = statistics_of(model, random_ids(), [[0, 1]])
        for name in factors:
            module = model.get_submodule(name)
            layer = int(name.split(".")[2])
            site = next(x.site for x in family_of(ARCHITECTURE).linears([layer]) if x.name == name)
            whole = decomposers["svd"]()(
                module.weight.double(), block.sites[layer, site], min(module.weight.shape)
            )
            whole = type(whole)(
                whole.left, whole.right, whole.spectrum, offset=getattr(module, "bias", None)
            )
            saving.replace_linear(model, name, whole, Kept(min(module.weight.shape)))
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def elsewhere():
    """A process that never built a model: give it a manifest and token ids, it says what it loads."""
    code = (
        "import json, sys, torch; from pathlib import Path; from rankwise.checkpoint import loading\n"
        "torch.set_num_threads(1)\n"
        "for line in sys.stdin:\n"
        "    path, ids = json.loads(line)\n"
        "    loaded, ids = loading.load_model(Path(path)), torch.tensor(ids)\n"
        "    logits = loaded.model(ids).logits.flatten()[:200].tolist()\n"
        "    made = loaded.model.generate(\n"
        "        ids[:, :3], min_new_tokens=4, max_new_tokens=4, do_sample=False)\n"
        "    facts = [loaded.parameters, loaded.run, loaded.checkpoint_bytes]\n"
        "    print(json.dumps([facts, logits, list(made.shape)]), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def ask(manifest, ids):
            process.stdin.write(json.dumps([str(manifest), ids.tolist()]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask


def test_checkpoint_loads_in_another_process(compressed, elsewhere, tmp_path):
    manifest, factors, choices, record = compressed
    model = build(manifest, factors, choices, tmp_path / "it")
    CheckpointManifest(
        run="it",
        keep_asked=0.7,
        keep_reached=record.keep_reached,
        parameters=count_parameters(read_headers(tmp_path / "it")),
        files=hash_files(tmp_path / "it", ("*",)),
    ).save(tmp_path / "it.json")
    ids = random_ids(2, 10)
    with torch.no_grad():
        expected = model.eval()(ids).logits
    facts, logits, generated = elsewhere(tmp_path / "it.json", ids)
    weights = (tmp_path / "it" / "model.safetensors").stat().st_size
    assert facts == [record.parameters_reached, "it", weights]
    torch.testing.assert_close(torch.tensor(logits), expected.flatten()[:200])
    assert generated == [2, 7]
