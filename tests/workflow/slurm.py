"""A SLURM of one node, started by hand below one folder, by any user and without systemd."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CONFIGURATION = """\
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class TakesNoJobs(RuntimeError):
    """SLURM is installed and its node takes no jobs; the message is what its programs said."""


PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")


def find_program(name: str) -> str | None:
    """Path of a program, also where only administrators look for it."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def missing_programs() -> list[str]:
    """The programs of SLURM and munge that are not installed."""
    return [name for name in PROGRAMS if find_program(name) is None]


@contextmanager
def start_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which ``sbatch`` reaches a SLURM of one node with two processors; it ends with the block.

    Snakemake's jobs call ``srun`` without the variable that names the configuration, hence the small script in ``bin``.
    """
    import pwd

    for name in ("state", "spool", "bin", "log"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    configuration = folder / "slurm.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    controller, daemon = free_ports(2)
    values = {"host": socket.gethostname(), "user": user, "folder": folder, "controller": controller, "daemon": daemon}
    configuration.write_text(CONFIGURATION.format(**values))
    wrapper = folder / "bin" / "srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {find_program("srun")} "$@"\n')
    wrapper.chmod(0o755)
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            log = stack.enter_context(open(folder / "log" / command[0], "w"))
            program = [find_program(command[0]), *command[1:]]
            process = subprocess.Popen(program, env=environment, stdout=log, stderr=log)
            stack.callback(end_process, process)
            time.sleep(1)
        wait_for_node(environment, folder / "log")
        yield environment


def free_ports(n: int) -> list[int]:
    """Numbers of ports that nobody uses."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for_node(environment: dict[str, str], logs: Path) -> None:
    """Wait until the node takes jobs; `TakesNoJobs` where it does not."""
    for _ in range(60):
        command = ["sinfo", "--noheader", "--format=%t"]
        state = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()
        if state == "idle":
            return
        time.sleep(1)
    raise TakesNoJobs("\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in sorted(logs.iterdir())))


def end_process(process: subprocess.Popen) -> None:
    """End a program that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
