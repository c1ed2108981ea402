"""Stage evaluate: perplexity, zero-shot accuracy and size of one run, or of the dense model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankwise.stages.options import CheckpointFile, ComputeFile, OutFile, ParamsFile, RunName

if TYPE_CHECKING:
    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint.loading import LoadedModel
    from rankwise.evaluate.task_files import TaskFile
    from rankwise.params.evaluate import Evaluate
    from rankwise.records.items import Items, TextItems
    from rankwise.records.scores import Scores, TextScore


def score(
    loaded: "LoadedModel",
    texts: "list[Tokens]",
    tasks: "list[TaskFile]",
    params: "Evaluate",
    dense: Any = None,
) -> "tuple[Scores, Items]":
    """Measure a loaded model on test texts, the first of them ``test``, and tasks.

    With ``dense``, the dense model, predictions are compared as well. Returns the scores and what
    they are the means of; neither holds a time.
    """
    from rankwise.evaluate.continuations import continue_prompts
    from rankwise.evaluate.zero_shot import zero_shot
    from rankwise.params.sample import FURTHER
    from rankwise.records.asked import target_fields
    from rankwise.records.items import Items
    from rankwise.records.scores import Scores
    from rankwise.records.versions import installed_versions

    measured = {text.role: text_score(loaded, text, params.batch, dense) for text in texts}
    (_, (first, _)), *others = measured.items()
    results = zero_shot(loaded.model, loaded.tokenizer, tasks, params.batch)
    accuracies = [result.score.acc for result in results.values()]
    scores = Scores(
        run=loaded.run,
        **target_fields(loaded.asked),
        keep_reached=loaded.keep_reached,
        **first.model_dump(),
        further={role.removeprefix(FURTHER): text for role, (text, _) in others},
        zero_shot={name: result.score for name, result in results.items()},
        zero_shot_average=sum(accuracies) / len(accuracies) if accuracies else None,
        parameters=loaded.parameters,
        checkpoint_bytes=loaded.checkpoint_bytes,
        versions=installed_versions(),
        parameters_section=params.model_dump(mode="json"),
    )
    items = Items(
        run=loaded.run,
        texts={role: windows for role, (_, windows) in measured.items()},
        tasks={name: result.items for name, result in results.items()},
        continuations=continue_prompts(
            loaded.model, loaded.tokenizer, params.prompts, params.new_tokens
        ),
    )
    return scores, items


def text_score(
    loaded: "LoadedModel", tokens: "Tokens", batch: int, dense: Any = None
) -> "tuple[TextScore, TextItems]":
    """Measure a loaded model on one text; with the dense model, how far it is from that."""
    from hashlib import sha256

    from rankwise.evaluate.divergence import measure_divergence
    from rankwise.evaluate.perplexity import mean_loss, to_perplexity, window_losses
    from rankwise.records.items import TextItems
    from rankwise.records.scores import TextScore

    what = f"run '{loaded.run}', text '{tokens.role}'"
    losses = window_losses(loaded.model, tokens.ids, batch, what, progress=True)
    kl, agreement = (
        (None, None)
        if dense is None
        else measure_divergence(loaded.model, dense, tokens.ids, batch)
    )
    score = TextScore(
        perplexity=to_perplexity(losses, what),
        loss=mean_loss(losses),
        tokens=losses.numel(),
        windows=len(losses),
        window_length=tokens.ids.shape[1],
        kl=kl,
        agreement=agreement,
    )
    windows = TextItems(
        sha256=sha256(
            str(tuple(tokens.ids.shape)).encode() + tokens.ids.numpy().tobytes()
        ).hexdigest(),
        losses=losses.double().mean(1).tolist(),
    )
    return score, windows


def command(
    params: ParamsFile,
    compute: ComputeFile,
    run: RunName,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Windows of test text.")],
    tasks: Annotated[Path, typer.Option(help="Manifest of the zero-shot tasks.")],
    items: Annotated[Path, typer.Option(help="File to write, item by item.")],
    out: OutFile,
    further: Annotated[
        list[Path] | None, typer.Option(help="Windows of a further text; repeat.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Manifest of the dense model, for evaluate.divergence.")
    ] = None,
) -> None:
    """Measure perplexity, zero-shot accuracy and size of one run."""
    import logging

    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint.loading import load_model
    from rankwise.errors import RankwiseError
    from rankwise.evaluate.task_files import read_tasks
    from rankwise.model.device import set_up_device
    from rankwise.params.compute import Compute
    from rankwise.params.evaluate import Evaluate
    from rankwise.params.section import read_section
    from rankwise.records.tasks import TasksManifest

    given = read_section(params, Evaluate)
    task_files = read_tasks(TasksManifest.load(tasks), given.tasks, given.limit)
    device = set_up_device(read_section(compute, Compute))
    loaded = load_model(checkpoint, device)
    if loaded.run != run:
        raise RankwiseError(
            f"{checkpoint}: is the checkpoint of run '{loaded.run}', asked was '{run}'"
        )
    texts = [Tokens.load(path) for path in (tokens, *(further or []))]
    dense = None
    if given.divergence:
        if against is None:
            raise RankwiseError(
                "evaluate.divergence: is true, which needs --against, the dense model"
            )
        dense = load_model(against, device).model
    scores, measured = score(loaded, texts, task_files, given, dense)
    measured.save(items)
    scores.save(out)
    average = "no tasks" if scores.zero_shot_average is None else f"{scores.zero_shot_average:.1%}"
    logging.getLogger("rankwise.evaluate").info(
        "%s: perplexity %.3f over %d tokens, zero-shot %s",
        run,
        scores.perplexity,
        scores.tokens,
        average,
    )
