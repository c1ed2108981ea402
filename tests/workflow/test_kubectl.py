"""The Kubernetes profile, against a stand-in for kubectl that runs a job's command here."""

import os
from pathlib import Path

import pytest

from tests.workflow.studies import FEWER, make_study

KUBECTL = """\
#!/usr/bin/env python3
import subprocess, sys
from pathlib import Path
from ruamel.yaml import YAML
jobs = Path(__file__).parent / "jobs"
jobs.mkdir(exist_ok=True)
if sys.argv[1] == "create":
    job = YAML(typ="safe").load(sys.stdin)
    [pod] = job["spec"]["template"]["spec"]["containers"]
    name = f"{job['metadata']['generateName']}{len(list(jobs.iterdir()))}"
    done = subprocess.run(pod["command"], cwd=pod["workingDir"], capture_output=True)
    (jobs / name).write_text(f"{'Failed' if done.returncode else 'Complete'} {pod['resources']['limits']['memory']}")
    print(f"job.batch/{name}")
else:
    print((jobs / sys.argv[2].partition("/")[2]).read_text())
"""


def test_jobs_go_through_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path / "study", quick=True, settings=FEWER)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text(KUBECTL)
    (tools / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    wanted = "data/covariance/dense/group_0.safetensors"
    options = ("--workflow-profile", "profiles/kubernetes", "--seconds-between-status-checks", "1")
    study.do("snakemake", *options, "--set-resources", "covariance:mem_mb=700", "--", wanted)
    assert (study.folder / wanted).is_file()
    [job] = (tools / "jobs").iterdir()
    assert (job.name, job.read_text()) == ("covariance-0", "Complete 700M")
