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
    from rankwise.records import Scores, TextScore


def score(
    loaded: "LoadedModel",
    tokens: "Tokens",
    further: "list[Tokens]",
    tasks: "list[TaskFile]",
    params: "Evaluate",
) -> "Scores":
    """Measure a loaded model on test text and tasks; the result holds no times."""
    from rankwise.evaluate.zero_shot import zero_shot
    from rankwise.params import FURTHER
    from rankwise.records import Scores, asked_as
    from rankwise.versions import versions

    texts = [text_score(loaded, text, params.batch) for text in (tokens, *further)]
    names = [text.role.removeprefix(FURTHER) for text in further]
    results = zero_shot(loaded.model, loaded.tokenizer, tasks, params.batch)
    accuracies = [result.score.acc for result in results.values()]
    return Scores(
        run=loaded.run,
        **asked_as(loaded.asked),
        keep_reached=loaded.keep_reached,
        **texts[0].model_dump(),
        further=dict(zip(names, texts[1:], strict=True)),
        zero_shot={name: result.score for name, result in results.items()},
        zero_shot_average=sum(accuracies) / len(accuracies) if accuracies else None,
        parameters=loaded.parameters,
        checkpoint_bytes=loaded.checkpoint_bytes,
        versions=versions(),
        parameters_section=params.model_dump(mode="json"),
    )


def text_score(loaded: "LoadedModel", tokens: "Tokens", batch: int) -> "TextScore":
    """Measure a loaded model on one text."""
    from rankwise.evaluate.perplexity import mean_loss, perplexity, window_losses
    from rankwise.records import TextScore

    losses = window_losses(loaded.model, tokens.ids, batch, progress=True)
    return TextScore(
        perplexity=perplexity(losses),
        loss=mean_loss(losses),
        tokens=losses.numel(),
        windows=len(losses),
        window_length=tokens.ids.shape[1],
    )


def command(
    params: ParamsFile,
    compute: ComputeFile,
    run: RunName,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Windows of test text.")],
    tasks: Annotated[Path, typer.Option(help="Manifest of the zero-shot tasks.")],
    out: OutFile,
    further: Annotated[
        list[Path] | None, typer.Option(help="Windows of a further text; repeat.")
    ] = None,
) -> None:
    """Measure perplexity, zero-shot accuracy and size of one run."""
    import logging

    from rankwise.artifacts import Tokens
    from rankwise.checkpoint import load
    from rankwise.compute import set_up
    from rankwise.errors import RankwiseError
    from rankwise.evaluate.task_files import read_tasks
    from rankwise.params import Compute, Evaluate
    from rankwise.records import TasksManifest
    from rankwise.sections import read_section

    given = read_section(params, Evaluate)
    task_files = read_tasks(TasksManifest.load(tasks), given.tasks, given.limit)
    device = set_up(read_section(compute, Compute))
    loaded = load(checkpoint, device)
    if loaded.run != run:
        raise RankwiseError(
            f"{checkpoint}: is the checkpoint of run '{loaded.run}', asked was '{run}'"
        )
    texts = [Tokens.load(path) for path in (tokens, *(further or []))]
    scores = score(loaded, texts[0], texts[1:], task_files, given)
    scores.save(out)
    average = "no tasks" if scores.zero_shot_average is None else f"{scores.zero_shot_average:.1%}"
    logging.getLogger("rankwise.evaluate").info(
        "%s: perplexity %.3f over %d tokens, zero-shot %s",
        run,
        scores.perplexity,
        scores.tokens,
        average,
    )
