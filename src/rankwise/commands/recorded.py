"""Commands that dvc.yaml records: the one place from which a user's command learns where records are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rankwise.errors import RankwiseError
from rankwise.stages import report

if TYPE_CHECKING:
    from rankwise.results.files import StudyFiles
    from rankwise.results.study import StudyResults

DVC_YAML = Path("dvc.yaml")


@dataclass(frozen=True)
class ReportPaths:
    """What the stage report reads and writes in the study of the working directory."""

    files: StudyFiles
    params: Path
    page: Path
    summary: Path

    def load_results(self) -> StudyResults:
        """Read the study's records; spectra are left out, for they need torch."""
        from rankwise.params.section import read_section
        from rankwise.params.stages import Report
        from rankwise.results.study import StudyResults

        return StudyResults.load(self.files, read_section(self.params, Report))


def read_report_paths() -> ReportPaths:
    """Parse the recorded command of the stage report as the stage itself does."""
    from rankwise.results.files import StudyFiles

    words = read_recorded_command("report")
    stage = typer.Typer(add_completion=False)
    stage.command()(report.command)
    arguments = words[words.index("report") + 1 :]
    options = typer.main.get_command(stage).make_context("report", arguments).params
    return ReportPaths(
        files=StudyFiles.from_options(options | {"factors": None}),
        params=options["params"],
        page=options["out"],
        summary=options["summary"],
    )


def read_recorded_command(stage: str) -> list[str]:
    """Return the arguments of a stage's command, as the rules gave them, from ``-m rankwise`` on."""
    if not DVC_YAML.is_file():
        raise RankwiseError(
            f"there is no {DVC_YAML} in {Path.cwd()}; run the study first: rankwise run"
        )
    return shlex.split(_load_stages()[stage]["cmd"])[1:]


def _load_stages() -> dict[str, Any]:
    """Return the stages of dvc.yaml by the parser in C: a study of ten runs takes the one in Python 1 s."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages: dict[str, Any] = YAML(typ="safe").load(DVC_YAML.read_text(encoding="utf-8"))[
            "stages"
        ]
    except YAMLError as error:
        raise RankwiseError(f"{DVC_YAML} is not plain YAML; print it anew: rankwise run") from error
    return stages
