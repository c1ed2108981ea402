"""A SLURM cluster of some nodes on this machine's loopback, without systemd and without accounting.

Every daemon is a child of this process. Needs root and Debian's packages, which it installs.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

PACKAGES = ("slurm-wlm", "munge")
SETTINGS = Path("/etc/slurm/slurm.conf")
"""Where SLURM's commands look: inside a job the executor plugin drops SLURM_CONF."""
PING = ("scontrol", "ping")
PATIENCE = 60
"""Until a daemon counts as hanging [s]."""
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
# A job whose node went away starts again when its old credential is too old to be used: at once.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
# No cgroups: processes are found by their parents, memory by looking every second.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# Jobs share nodes by what they ask for; nodes have what is said here, not what the machine has.
EnforcePartLimits=ALL
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
# A small cluster with nothing to wait for.
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
MinJobAge=3600
KillWait=2
SlurmdTimeout=10
MpiDefault=none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL AllowAccounts=paying State=UP
"""
"""MinJobAge: how long a finished job is known [s]."""


class Cluster:
    """Controller and nodes, from ``with`` to its end."""

    def __init__(self, nodes: int = 2, cores: int = 2, memory_mb: int = 256_000) -> None:
        self.names = [f"node{number}" for number in range(1, nodes + 1)]
        self.cores, self.memory_mb = cores, memory_mb
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._configure()
            self._start_munge()
            self.start_controller()
            for name in self.names:
                self.start_node(name)
            self._wait_for_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End jobs and daemons, and forget the configuration."""
        if "slurmctld" in self._daemons:
            subprocess.run(["scancel", "--user=root", "--quiet"], check=False, timeout=PATIENCE)
        for name in [*self.names, "slurmctld", "munged"]:
            self.kill(name, signal.SIGTERM)
        if SETTINGS.is_symlink() and SETTINGS.readlink().parent == self.folder:
            SETTINGS.unlink()
        shutil.rmtree(self.folder)

    def start_controller(self) -> None:
        """Start the controller, which goes on with the jobs that it knew."""
        self._daemons["slurmctld"] = self._start("slurmctld", "slurmctld", "-D")
        end = time.monotonic() + PATIENCE
        while subprocess.run(PING, capture_output=True, check=False).returncode:
            assert time.monotonic() < end, self.said("slurmctld")
            time.sleep(0.2)

    def start_node(self, name: str, *under: str) -> None:
        """Start a node's daemon, ``under`` another command if one is given."""
        self._daemons[name] = self._start(name, *under, "slurmd", "-D", "-N", name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a daemon, and wait for its end."""
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(number)
            daemon.wait(PATIENCE)

    def said(self, name: str) -> str:
        """Return what a daemon said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def jobs(self, *options: str) -> list[str]:
        """Return squeue's lines."""
        command = ["squeue", "--noheader", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, process_group=0)

    def _configure(self) -> None:
        self.folder.chmod(0o755)
        host, port = socket.gethostname().partition(".")[0], _free_port()
        ports = [_free_port() for _ in self.names]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={own}"
            f" CPUs={self.cores} RealMemory={self.memory_mb}"
            for name, own in zip(self.names, ports, strict=True)
        )
        for name in ("munge", "controller", *self.names):
            (self.folder / name).mkdir(mode=0o755)
        there = self.folder / "slurm.conf"
        there.write_text(
            CONFIGURATION.format(folder=self.folder, host=host, port=port, nodes=nodes)
        )
        SETTINGS.parent.mkdir(exist_ok=True)
        SETTINGS.symlink_to(there)

    def _start_munge(self) -> None:
        here = self.folder / "munge"
        key, bell = here / "key", here / "socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemons["munged"] = self._start(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={bell}",
            f"--pid-file={here / 'pid'}", f"--log-file={here / 'log'}", f"--seed-file={here / 'seed'}",
        )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while not bell.exists():
            assert time.monotonic() < end, self.said("munged")
            time.sleep(0.05)

    def _wait_for_nodes(self) -> None:
        end = time.monotonic() + PATIENCE
        command = ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"]
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout.split() == ["idle"] * len(self.names):
                return
            logs = "\n".join(self.said(name) for name in self.names)
            assert time.monotonic() < end, f"{done.stdout}\n{logs}"
            time.sleep(0.2)


def why_not() -> str:
    """Return why no cluster can be started here, empty if one can; installs what is missing."""
    if os.geteuid() != 0:
        return "a SLURM cluster on loopback needs root"
    if SETTINGS.exists() and not SETTINGS.is_symlink():
        return f"{SETTINGS} is there: this machine belongs to a cluster"
    if missing := install("slurmctld", *PACKAGES):
        return missing
    if SETTINGS.exists() and not subprocess.run(PING, capture_output=True, check=False).returncode:
        return "another cluster of these tests runs"
    SETTINGS.unlink(missing_ok=True)  # of one that was killed
    return ""


def install(command: str, *packages: str) -> str:
    """Install Debian packages unless ``command`` is there; return why that cannot be, else nothing."""
    if shutil.which(command):
        return ""
    if not shutil.which("apt-get"):
        return f"no {command}, and no apt-get to install it with"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for step in (["apt-get", "update", "-qq"], words):
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(step)} failed: {done.stderr.strip()[-300:]}"
    return ""


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]
