"""What tests share: a tiny random model, statistics made of it, and the folder of real data."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.forkserver.launch import fork_server
from rankwise.model.families import family_of
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from rankwise.workflow import engines

SHARED = Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve()


SPREAD = ("test_what_reruns.py", "test_orders.py", "test_remotes.py")
"""Files whose tests share nothing that takes long: any worker takes any of them, last."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests stay together on one worker (pytest --dist loadgroup), longest first.

    Those of one file do, for the fixtures they share, and all that look at the two real studies.
    """

    def rank(item: pytest.Item) -> int:
        return 0 if "both" in item.fixturenames else 2 if item.path.name in SPREAD else 1

    items.sort(key=rank)
    for item in items:
        if rank(item) < 2:
            item.add_marker(pytest.mark.xdist_group("both" if rank(item) == 0 else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell has commands in its background ignore SIGINT, and so all that they start: not here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def forked() -> Iterator[dict[str, str]]:
    """An environment in which `python -m rankwise` is forked from a process with all libraries."""
    given = {k: v for k, v in engines.environment().items() if k != "PYTEST_CURRENT_TEST"}
    with fork_server(given) as variables:
        yield given | variables


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text, tasks and models (PROVENANCE.md says what each is)."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at RANKWISE_DATA={SHARED}")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_llama(seed: int = 0, **changes: object) -> LlamaForCausalLM:
    """A random LLaMA with grouped-query attention, odd sizes, in float32."""
    settings = {
        "vocab_size": 67,
        "hidden_size": 32,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


def weight_of(model: torch.nn.Module) -> Callable[[str], torch.Tensor]:
    """What gives the weights [out, in] of a model's own linears by name."""
    return lambda name: model.get_submodule(name).weight.detach()


def random_ids(sequences: int = 16, length: int = 24, seed: int = 1) -> torch.Tensor:
    """Token ids [sequences, length] of the tiny model's vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 67, (sequences, length), generator=generator)


@pytest.fixture
def tiny_model() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="session")
def tiny_statistics():
    """Statistics of the tiny model in float64: {(layer, site): InputStatistics}."""
    model = tiny_llama().double()
    family = family_of("LlamaForCausalLM")
    asked = CovarianceParams(pools=4, batch=2)
    blocks = gather_covariance(model, family, weight_of(model), random_ids(), [[0], [1]], asked)
    return {key: value for block in blocks for key, value in block.sites.items()}


@pytest.fixture(scope="session")
def tiny_gradients():
    """Gradients at the outputs of the tiny model in float64: {linear: OutputGradient}."""
    model = tiny_llama().double()
    family = family_of("LlamaForCausalLM")
    [block] = gather_gradients(
        model, family, weight_of(model), random_ids(), [[0, 1]], FisherParams()
    )
    return block.linears
