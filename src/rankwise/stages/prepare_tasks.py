"""Stage prepare_tasks: hash the task files and their items; `rankwise.evaluate.task_files` reads them."""

import logging

from rankwise.errors import RankwiseError
from rankwise.stages.options import OutFile, ParamsFile

log = logging.getLogger("rankwise.prepare")


def command(params: ParamsFile, out: OutFile) -> None:
    """Hash the zero-shot task files, and their items."""
    from rankwise.inputs.sources import ITEM_FILES, hash_files, items_folder, tasks_folder
    from rankwise.params.prepare import Tasks
    from rankwise.params.section import read_section
    from rankwise.records.tasks import TasksManifest

    asked = read_section(params, Tasks)
    manifest = TasksManifest(source=None, files=[])
    if asked.source is not None:
        files = hash_files(tasks_folder(asked.source), ("*.yaml", *ITEM_FILES))
        if not any(file.path.endswith(".yaml") for file in files):
            raise RankwiseError(
                f"prepare.tasks.source: '{asked.source}' holds no *.yaml task file; give null for no tasks"
            )
        data = items_folder(asked.source, asked.data)
        items = [] if data is None else hash_files(data, ITEM_FILES)
        manifest = TasksManifest(
            source=asked.source, files=files, data=asked.data, data_files=items
        )
    manifest.save(out)
    log.info("tasks %s: %d files", asked.source, len(manifest.files) + len(manifest.data_files))
