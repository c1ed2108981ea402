"""`rankwise plan`: sizes against real models and files, what does not fit, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from rankwise.embedded import files
from rankwise.errors import RankwiseError
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.model.families import family_of
from rankwise.model.shapes import shape_of
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.planning.machine import Room, _group_limit, probe
from rankwise.planning.plan import LIBRARIES, MIB, StagePlan, _text_characters, plan
from rankwise.planning.sizes import Matrix, Sizes, moments_of, triangle_bytes
from rankwise.planning.stages import SAVED
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.planning.studies import ROOMY, params_of, write_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaMA-2-7B's config.json, and nothing else."""
    folder = tmp_path_factory.mktemp("llama")
    write_llama(folder)
    return folder


FAMILY = family_of("LlamaForCausalLM")
ON_CPU = "compute.device=cpu"
BASE = 400 * MIB


def test_llama_2_7b_from_its_configuration_alone(llama: Path, tmp_path: Path) -> None:
    sizes = Sizes.of(params_of(tmp_path, "bolaco"), llama)
    assert sizes.parameters == 6_738_415_616
    assert sizes.linear_numbers == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert sizes.bytes == 2 * sizes.parameters
    # Four statistics of 4096² a layer: attention's input, o's, the MLP's, and down's output (methods.md).
    assert moments_of(sizes.group([7]), RequiredStatistics.SMALLER) == [4096] * 4
    assert moments_of(sizes.group([7]), RequiredStatistics.INPUTS) == [4096, 4096, 4096, 11008]
    assert moments_of(sizes.group([7]), RequiredStatistics.CHANNELS) == []


def test_sizes_are_those_of_the_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(files.MODEL)
    sizes = Sizes.of(params_of(tmp_path, "embedded"), files.MODEL)
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert sizes.bytes == sum(p.nbytes for p in model.parameters())
    for matrix in sizes.matrices:
        assert (matrix.out, matrix.columns) == shape_of(model.get_submodule(matrix.linear.name))


@pytest.mark.parametrize("moments", RequiredStatistics)
def test_sums_on_disk_are_those_that_are_gathered(
    moments: RequiredStatistics, tmp_path: Path
) -> None:
    """Files of what was gathered hold the triangles that are planned; besides: means, sizes, heads."""
    model = tiny_llama(intermediate_size=88)  # down's output is its smaller side
    matrices = [
        Matrix(linear, *shape_of(model.get_submodule(linear.name)))
        for linear in FAMILY.linears([1])
    ]
    asked = CovarianceParams(pools=2, moments=str(moments))
    ids = random_ids()
    [found] = gather_covariance(model, FAMILY, weight_of(model), ids, [[1]], asked)
    found.save(tmp_path / "file")
    around = (tmp_path / "file").stat().st_size - triangle_bytes(moments_of(matrices, moments))
    assert 0 < around < 15_000
    [bent] = gather_gradients(model, FAMILY, weight_of(model), ids, [[1]], FisherParams())
    bent.save(tmp_path / "file")
    around = (tmp_path / "file").stat().st_size - triangle_bytes([m.smaller for m in matrices])
    assert 0 < around < 15_000


def test_what_does_not_fit_is_said_with_what_is_missing(llama: Path, tmp_path: Path) -> None:
    params = params_of(tmp_path, "bolaco", ON_CPU)
    sizes = Sizes.of(params, llama)
    fits = plan(params, sizes, ROOMY, BASE)
    assert not fits.missing
    small = Room(8000 * MIB, 10_000 * MIB, 0)
    found = plan(params, sizes, small, BASE)
    memory, disk = found.missing
    assert f"needs about {found.memory_mib:,} MiB of memory, 8,000 MiB are free" in memory
    assert memory.endswith(", or use a machine with more memory")
    peak = found.disk_mib + max(stage.scratch_mib for stage in found.stages)
    assert f"{peak - 10_000:,} MiB are missing" in disk


def test_streaming_and_smaller_batches_need_less(llama: Path, tmp_path: Path) -> None:
    def planned(stage: str, *settings: str) -> StagePlan:
        params = params_of(tmp_path, "bolaco", ON_CPU, *settings)
        found = plan(params, Sizes.of(params, llama), ROOMY, BASE)
        return next(s for s in found.stages if s.stage == stage)

    def memory(stage: str, *settings: str) -> int:
        return planned(stage, *settings).memory_mib

    whole = memory("covariance", "covariance.streaming=false")
    assert memory("covariance", "covariance.streaming=true") < whole / 4
    dense, streamed = (planned("fisher", f"fisher.streaming={on}") for on in ("false", "true"))
    assert streamed.memory_mib < dense.memory_mib / 4
    assert streamed.flops > dense.flops
    tokens = 1024 * 4096  # of calibration text, 8 blocks of 4 layers
    states = tokens * 4096 * 2 / MIB  # behind one layer
    assert dense.scratch_mib == 0
    assert streamed.scratch_mib == pytest.approx(8 * states + streamed.disk_mib, abs=1)
    assert memory("evaluate", "evaluate.batch=1") < memory("evaluate", "evaluate.batch=8")
    assert memory("decompose", "compute.layers_per_job=1") < memory("decompose")


def test_llama_2_7b_is_compressed_in_24_gb(llama: Path, tmp_path: Path) -> None:
    """All up to the checkpoint, which is then opened whole, on the CPU."""
    params = params_of(tmp_path, "svd-llm", ON_CPU)
    found = plan(params, Sizes.of(params, llama), ROOMY, BASE)
    needed = {stage.stage: stage.memory_mib for stage in found.stages}
    assert {"covariance", "decompose", "allocate", "build"} <= needed.keys()
    for stage in ("covariance", "decompose", "allocate", "build"):
        assert needed[stage] < 22_000, stage
    assert needed["build"] > 0.8 * 2 * 6_476_005_376 / MIB  # its linears at keep 0.8 are there


def test_a_model_in_another_precision_than_its_files_takes_both(tmp_path: Path) -> None:
    params = params_of(tmp_path, "svd-llm", ON_CPU, "evaluate.batch=1", "prepare.model.layers=32")

    def evaluated(dtype: str) -> int:
        config = LlamaConfig(architectures=["LlamaForCausalLM"], dtype=dtype)
        config.save_pretrained(tmp_path / dtype)
        stages = plan(params, Sizes.of(params, tmp_path / dtype), ROOMY, BASE).stages
        return next(stage.memory_mib for stage in stages if stage.stage == "evaluate")

    files = 4 * 6_738_415_616 / MIB
    assert 0.8 * files < evaluated("float32") - evaluated("bfloat16") < files


def test_a_device_holds_what_main_memory_need_not(llama: Path, tmp_path: Path) -> None:
    on_cpu, on_gpu = (
        params_of(tmp_path, "bolaco", f"compute.device={device}") for device in ("cpu", "cuda")
    )
    sizes = Sizes.of(on_cpu, llama)
    room = replace(ROOMY, gpu=0)
    cpu, gpu = (plan(params, sizes, room, BASE) for params in (on_cpu, on_gpu))
    assert cpu.gpu_mib == 0 < gpu.gpu_mib
    assert gpu.memory_mib < cpu.memory_mib
    assert any("GPU memory" in sentence for sentence in gpu.missing)


def test_a_probe_knows_every_shape_and_times_grow_with_the_text(tmp_path: Path) -> None:
    short, long = (
        params_of(tmp_path, "embedded", 'runs={a: {decompose: svd, allocate: uniform, keep: 0.8}}',
                  f"sample.calibration.sequences={number}")
        for number in (64, 256)
    )  # fmt: skip
    sizes = Sizes.of(short, files.MODEL)
    speed = probe(short, sizes)
    assert set(speed.factoring) == {("svd", shape) for shape in sizes.shapes()}
    assert all(
        value > 0 for value in [speed.layer, speed.head, speed.product, speed.write, speed.read]
    )
    found = [plan(params, sizes, ROOMY, BASE, speed) for params in (short, long)]
    covariance = [one.stages[0].seconds - LIBRARIES["covariance"][1] for one in found]
    assert 3 < covariance[1] / covariance[0] < 5
    assert found[0].seconds == pytest.approx(sum(stage.seconds for stage in found[0].stages))


def test_what_autograd_saves_of_a_block_is_what_is_planned() -> None:
    """Bytes of the tensors that a backward pass needs, of the second of two blocks."""
    width, inner = 64, 172

    def saved(layers: int) -> int:
        model = tiny_llama(
            hidden_size=width, intermediate_size=inner, num_hidden_layers=layers
        ).requires_grad_(requires_grad=False)
        given = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        # The tensors themselves are held, so that no place in memory is used twice.
        found: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        embeddings = model.get_input_embeddings()
        embeddings.register_forward_hook(lambda *io: io[-1].detach().requires_grad_(True))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model.get_decoder()(random_ids(), use_cache=False)[0]
        assert output.requires_grad
        return sum(t.untyped_storage().nbytes() for p, t in found.items() if p not in given)

    activations = (2 * width + 3 * inner) * random_ids().numel() * 4
    assert 0.85 * SAVED < (saved(2) - saved(1)) / activations < SAVED


def test_items_are_what_they_say_and_not_their_keys() -> None:
    assert _text_characters('{"context": "abc", "choices": ["de", {"text": "f"}], "gold": 2}') == 6
    assert _text_characters("no item") == 7  # stage evaluate refuses it


def test_a_study_that_times_no_run_never_holds_two_models(llama: Path, tmp_path: Path) -> None:
    """LLaMA-2-7B in bfloat16 on the CPU, to its report: one model fits 24 GB, two do not."""
    needed = {}
    for batches in ("[1]", "[]"):
        asked = (ON_CPU, "evaluate.batch=1", f"speed.batches={batches}")
        params = params_of(tmp_path, "svd-llm", *asked)
        found = plan(params, Sizes.of(params, llama), ROOMY, BASE)
        needed[batches] = {stage.stage: stage.memory_mib for stage in found.stages}
    assert needed["[1]"].keys() - needed["[]"].keys() == {"speed"}
    assert max(needed["[]"].values()) < 22_000 < 24 * 1024 < needed["[1]"]["speed"]


def test_trials_in_rounds_are_jobs_that_read_the_model_each(tmp_path: Path) -> None:
    run = "runs={a: {decompose: pooled_pca, allocate: hyperopt, keep: 0.8}}"
    found = {}
    for q in (1, 4):
        params = params_of(tmp_path, "embedded", run, f"allocate.hyperopt={{trials: 10, q: {q}}}")
        stages = plan(params, Sizes.of(params, files.MODEL), ROOMY, BASE).stages
        [found[q]] = [stage for stage in stages if stage.stage == "allocate"]
    assert (found[1].jobs, found[4].jobs) == (1, 1 + 10 + 3)
    assert found[4].moved_mib > 9 * found[1].moved_mib
    assert found[4].flops == found[1].flops


def test_a_layer_count_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    params = params_of(tmp_path, "embedded", "prepare.model.layers=7")
    with pytest.raises(RankwiseError, match=r"prepare.model.layers: 7 given, .* has 5"):
        Sizes.of(params, files.MODEL)


def test_a_control_groups_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert _group_limit(tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert _group_limit(tmp_path) > 2**60
    assert _group_limit(tmp_path / "none") > 2**60
