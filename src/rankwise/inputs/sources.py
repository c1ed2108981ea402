"""Files of models, texts and tasks: from this package, a local path, or the Hub at a commit.

rankwise does not copy them: a manifest records source, revision and hashes, and every stage finds the
files by their manifest. Only the prepare stage contacts the Hub; every later stage reads its local cache.
"""

from functools import cache
from pathlib import Path

from rankwise.embedded import files
from rankwise.errors import RankwiseError
from rankwise.files.checksummed import sha256
from rankwise.files.paths import resolve_inside
from rankwise.records.base import FileHash

EMBEDDED = "embedded"
PAPERS = "papers"
TASK_FOLDERS = {EMBEDDED: files.TASKS, PAPERS: Path(__file__).with_name("paper_tasks")}
"""Name of a source → folder of task files that this package contains."""
ITEM_FILES = ("*.jsonl",)
MODEL_FILES = ("*.json", "*.safetensors", "tokenizer.model", "*.txt")


def model_folder(source: str, revision: str | None, *, download: bool = False) -> Path:
    """Return the folder of a model; raises RankwiseError if it does not exist."""
    if revision is not None:
        return _find_snapshot(source, revision, download)
    folder = files.MODEL if source == EMBEDDED else Path(source)
    if not folder.is_dir():
        raise RankwiseError(
            f"prepare.model.source: folder '{source}' does not exist; give 'embedded', a local folder, "
            "or a Hub id together with prepare.model.revision (40 hex digits)"
        )
    return folder


def text_file(
    source: str, revision: str | None, file: str | None, *, download: bool = False
) -> Path:
    """Return the file of a text; raises RankwiseError if it does not exist."""
    if revision is not None:
        if file is None:
            raise RankwiseError(
                f"corpus '{source}' is on the Hub: name the file inside its repository (key 'file')"
            )
        return _find_hub_file(source, revision, file, download)
    prefix, _, rest = source.partition("/")
    is_embedded = prefix == EMBEDDED and rest
    path = resolve_inside(files.TEXT, rest, f"text '{source}'") if is_embedded else Path(source)
    if not path.is_file():
        raise RankwiseError(
            f"text file '{source}' does not exist; give a file, or 'embedded/<name>.txt'"
        )
    return path


def tasks_folder(source: str) -> Path:
    """Return the folder of task files; raises RankwiseError if it does not exist."""
    folder = TASK_FOLDERS.get(source, Path(source))
    if not folder.is_dir():
        raise RankwiseError(
            f"prepare.tasks.source: folder '{source}' does not exist; give 'embedded', 'papers', "
            "a folder of lm-eval YAML files, or null"
        )
    return folder


def items_folder(source: str, data: str | None) -> Path | None:
    """Return the folder of the tasks' items, None where it is the folder of the task files."""
    if data is None and source == PAPERS:
        raise RankwiseError(
            f"prepare.tasks.data: is null, but the task files of '{PAPERS}' come without items; "
            "give the folder of the validation sets as JSON lines (docs/evaluation.md names the files)"
        )
    if data is not None and not Path(data).is_dir():
        raise RankwiseError(
            f"prepare.tasks.data: folder '{data}' does not exist; give the folder of the items (*.jsonl)"
        )
    return None if data is None else Path(data)


def hash_files(folder: Path, patterns: tuple[str, ...]) -> list[FileHash]:
    """Return name, SHA-256 and size of the folder's files that match ``patterns``, sorted by name."""
    paths = sorted(
        {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    )
    return [
        FileHash(path=path.name, sha256=sha256(path), bytes=path.stat().st_size) for path in paths
    ]


def check_files(folder: Path, files: list[FileHash], what: str) -> None:
    """Raise RankwiseError for missing files, and for those whose size or SHA-256 differs from the manifest.

    Cost: reads every file once per process, about one second per gigabyte.
    """
    for file in files:
        check_file(resolve_inside(folder, file.path, what), file.sha256, file.bytes, what)


def check_file(path: Path, digest: str, size: int, what: str) -> None:
    """Raise RankwiseError for a missing file, or one whose size or SHA-256 differs from the manifest."""
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise RankwiseError(
            f"{what}: {path} is gone, its manifest says {size:,} bytes; {_restore_hint(what)}"
        ) from error
    if stat.st_size != size:
        raise RankwiseError(
            f"{what}: {path} has {stat.st_size:,} bytes, its manifest says {size:,} bytes; {_restore_hint(what)}"
        )
    if (actual := _hash_file(path, size, stat.st_mtime_ns)) != digest:
        raise RankwiseError(
            f"{what}: {path} is not the file of its manifest: expected SHA-256 {digest}, found {actual}; {_restore_hint(what)}"
        )


@cache
def _hash_file(path: Path, _size: int, _time: int) -> str:
    """Return the SHA-256 of a file; reads it again only if its size or modification time changed."""
    return sha256(path)


def _restore_hint(what: str) -> str:
    """Return the command that restores the files of a manifest."""
    part = what.removeprefix("prepare.")
    if part == what:  # a checkpoint: its folder is an artifact
        return f"make it again with: rm -r {what} && rankwise run"
    return f"bring the file back, or if the new one is meant: rm data/prepare/{part}.json && rankwise run"


def _find_snapshot(source: str, revision: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=list(MODEL_FILES),
                local_files_only=not download,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise _unreachable_error(source, revision, error) from error


def _find_hub_file(source: str, revision: str, file: str, download: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            hf_hub_download(
                source, file, revision=revision, repo_type="dataset", local_files_only=not download
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise _unreachable_error(source, revision, error) from error


def _unreachable_error(source: str, revision: str, error: Exception) -> RankwiseError:
    reason = str(error).splitlines()[0]
    return RankwiseError(
        f"'{source}' at revision {revision} is available neither from the Hub nor from its local cache "
        f"({type(error).__name__}: {reason}); check name, revision, network and 'hf auth login'"
    )
