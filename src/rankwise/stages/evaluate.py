"""Stage evaluate: perplexity, zero-shot accuracy and size of one run, or of the dense model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.options import CheckpointFile, ComputeFile, OutFile, ParamsFile, RunName

if TYPE_CHECKING:
    from rankwise.artifacts import Tokens
    from rankwise.checkpoint import LoadedModel
    from rankwise.evaluate.task_files import TaskFile
    from rankwise.params import Evaluate
    from rankwise.records import Scores


def score(
    loaded: "LoadedModel", tokens: "Tokens", tasks: "list[TaskFile]", params: "Evaluate"
) -> "Scores":
    """Measure a loaded model on test text and tasks; the result holds no times."""
    from rankwise.evaluate.perplexity import mean_loss, perplexity, window_losses
    from rankwise.evaluate.zero_shot import zero_shot
    from rankwise.records import Scores

    losses = window_losses(loaded.model, tokens.ids, params.batch, progress=True)
    results = zero_shot(loaded.model, loaded.tokenizer, tasks, params.batch)
    accuracies = [result.score.acc for result in results.values()]
    return Scores(
        run=loaded.run,
        keep_asked=loaded.keep_asked,
        keep_reached=loaded.keep_reached,
        perplexity=perplexity(losses),
        loss=mean_loss(losses),
        tokens=losses.numel(),
        windows=len(losses),
        window_length=tokens.ids.shape[1],
        zero_shot={name: result.score for name, result in results.items()},
        zero_shot_average=sum(accuracies) / len(accuracies) if accuracies else None,
        parameters=loaded.parameters,
        checkpoint_bytes=loaded.checkpoint_bytes,
        versions=versions(),
        parameters_section=params.model_dump(mode="json"),
    )


def versions() -> dict[str, str]:
    """Return the versions of the libraries that the numbers depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("rankwise", "torch", "transformers", "lm_eval")}


def command(
    params: ParamsFile,
    compute: ComputeFile,
    run: RunName,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Windows of test text.")],
    tasks: Annotated[Path, typer.Option(help="Manifest of the zero-shot tasks.")],
    out: OutFile,
) -> None:
    """Measure perplexity, zero-shot accuracy and size of one run."""
    import logging

    from rankwise.artifacts import Tokens
    from rankwise.checkpoint import load
    from rankwise.compute import set_up
    from rankwise.errors import RankwiseError
    from rankwise.evaluate.task_files import read_tasks
    from rankwise.params import Compute, Evaluate, read_section
    from rankwise.records import TasksManifest

    given = read_section(params, Evaluate)
    task_files = read_tasks(TasksManifest.load(tasks), given.tasks, given.limit)
    device = set_up(read_section(compute, Compute))
    loaded = load(checkpoint, device)
    if loaded.run != run:
        raise RankwiseError(
            f"{checkpoint}: is the checkpoint of run '{loaded.run}', asked was '{run}'"
        )
    scores = score(loaded, Tokens.load(tokens), task_files, given)
    scores.save(out)
    average = "no tasks" if scores.zero_shot_average is None else f"{scores.zero_shot_average:.1%}"
    logging.getLogger("rankwise.evaluate").info(
        "%s: perplexity %.3f over %d tokens, zero-shot %s",
        run,
        scores.perplexity,
        scores.tokens,
        average,
    )
