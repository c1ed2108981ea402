"""``rankwise verify``: whether a checkpoint is what its manifest, its record and its configuration say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    from rankwise.records.allocation import LinearRank
    from rankwise.records.base import FileHash


class VerificationResult(BaseModel):
    """What was looked at, and what does not match."""

    checkpoint: str
    run: str
    against: list[str]
    """Files that say what the checkpoint is."""
    files: int
    """Files whose hash was computed."""
    parameters: int
    """Numbers in the weight files, places of sparse entries among them [-]."""
    problems: list[str]


def verify(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder of a checkpoint, or its manifest.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute a checkpoint's hashes and counts anew and say what does not match; no model is loaded."""
    from rankwise.files.atomic import to_json

    found = verify_checkpoint(checkpoint)
    if as_json:
        typer.echo(to_json(found.model_dump()), nl=False)
    else:
        for problem in found.problems:
            typer.echo(problem)
        state = f"{len(found.problems)} problems" if found.problems else "as it was written"
        typer.echo(
            f"{found.checkpoint}: run {found.run}, {found.files} files, {found.parameters:,} parameters, "
            f"against {' and '.join(found.against)}: {state}"
        )
    if found.problems:
        raise typer.Exit(2)


def verify_checkpoint(checkpoint: Path) -> VerificationResult:
    """Look at a checkpoint folder. Cost: reads every file once."""
    from rankwise.checkpoint.weight_files import count_parameters, read_headers
    from rankwise.hub.checks import CheckpointError, check_folder
    from rankwise.records.base import FileHash
    from rankwise.records.build import BuildRecord
    from rankwise.records.checkpoint import CheckpointManifest, FolderFiles

    folder = checkpoint.with_suffix("") if checkpoint.suffix == ".json" else checkpoint
    manifest, inner = folder.parent / f"{folder.name}.json", folder / FolderFiles.file
    files: dict[str, FileHash] = {}
    against, run, expected, problems, linears = list[str](), "", dict[str, int](), list[str](), {}
    try:
        if inner.is_file():
            held = FolderFiles.load(inner)
            run, against = held.run, [str(inner)]
            files |= {file.path: file for file in held.files}
            expected[str(inner)] = held.parameters
        if (folder / BuildRecord.file).is_file():
            linears = BuildRecord.load(folder / BuildRecord.file).allocation.linears
        if manifest.is_file():
            whole = CheckpointManifest.load(manifest)
            run, against = whole.run, [*against, str(manifest)]
            files |= {file.path: file for file in whole.files}
            expected[str(manifest)] = whole.parameters
    except RankwiseError as error:
        problems.append(str(error))
    if not against and not problems:
        raise RankwiseError(
            f"{folder}: neither {inner} nor {manifest} is there, so that nothing says what this checkpoint should be; "
            f"fetch it with its {FolderFiles.file}"
        )
    problems += _of_files(folder, files)
    parameters = 0
    try:
        check_folder(folder)
        parameters = count_parameters(read_headers(folder))
        problems += _of_ranks(folder, linears)
    except (CheckpointError, RankwiseError) as error:
        problems.append(str(error))
    else:
        problems += [
            f"{folder}: holds {parameters:,} parameters, {where} says {number:,}"
            for where, number in expected.items()
            if number != parameters
        ]
    return VerificationResult(
        checkpoint=str(folder),
        run=run,
        against=against,
        files=len(files),
        parameters=parameters,
        problems=list(dict.fromkeys(problems)),
    )


def _of_files(folder: Path, files: "dict[str, FileHash]") -> list[str]:
    """Return what is wrong with the files: gone, another size, other bytes, not listed."""
    from rankwise.inputs.sources import check_files
    from rankwise.records.checkpoint import FolderFiles

    problems = []
    for file in files.values():
        try:
            check_files(folder, [file], str(folder))
        except RankwiseError as error:
            problems.append(str(error))
    unlisted = {FolderFiles.file, "README.md", ".snakemake_timestamp"}
    there = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in there]
    problems += [
        f"{folder}: {name} is in no manifest; remove it, or ask where it comes from"
        for name in names
        if name not in files and name not in unlisted and files
    ]
    return problems


def _of_ranks(folder: Path, linears: "dict[str, LinearRank]") -> list[str]:
    """Return where config.json says other ranks than the record does."""
    from rankwise.files.checksummed import read_json

    given = read_json(folder / "config.json")["rankwise"]["linears"]
    found = {name: (said["rank"], said.get("entries", 0)) for name, said in given.items()}
    meant = {n: (said.rank, said.entries) for n, said in linears.items() if said.rank is not None}
    return [
        f"{folder}/config.json: {name}: rank and entries {found.get(name)}, its record says {meant.get(name)}"
        for name in sorted(found.keys() | meant.keys())
        if linears and found.get(name) != meant.get(name)
    ]
