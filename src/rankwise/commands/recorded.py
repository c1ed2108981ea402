"""Commands that dvc.yaml records: the one place from which a user's command learns where records are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rankwise.errors import RankwiseError
from rankwise.stages import report
from rankwise.workflow.dvc_yaml import read_stages

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
        from rankwise.params.report import Report
        from rankwise.params.section import read_section
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
    return shlex.split(read_stages(DVC_YAML)[stage]["cmd"])[1:]
