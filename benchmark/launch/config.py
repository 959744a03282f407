"""The settings of a launcher: a small YAML file, given by --launcher-config."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError, suggestion
from benchmark.files.mistakes import first_mistake
from benchmark.files.yaml_file import read_mapping
from benchmark.launch.lease_file import MAX_SECONDS
from benchmark.suite.settings import Strict

LauncherName = Literal["local", "slurm", "ray", "commands"]


class LauncherConfig(Strict):
    """What all launchers have."""

    launcher: LauncherName
    gpus_per_job: int = Field(default=1, ge=1)  # that train one network together
    lease_seconds: float = Field(default=60.0, ge=1, le=MAX_SECONDS)  # after which a silent worker counts as dead


class LocalConfig(LauncherConfig):
    """Workers on this machine."""

    launcher: Literal["local"] = "local"


class ElsewhereConfig(LauncherConfig):
    """What launchers have whose jobs run on other machines."""

    cpus_per_job: int = Field(default=2, ge=1)  # also the threads of torch, unless the job uses a GPU


class CommandsConfig(ElsewhereConfig):
    """Printed commands, which somebody else starts."""

    launcher: Literal["commands"] = "commands"


class SlurmConfig(ElsewhereConfig):
    """Job arrays of SLURM, see `man sbatch`."""

    launcher: Literal["slurm"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str = "4:00:00"  # of one job; hours:minutes:seconds, or minutes
    memory: str | None = None  # such as 16G
    setup: tuple[str, ...] = ()  # shell lines before each job, such as `module load cuda`
    array_limit: int = Field(default=1000, ge=1)  # jobs in one array; sites set MaxArraySize
    signal_delay: int = Field(default=90, ge=1)  # seconds before the end of the time at which a job is signalled
    timeouts: int = Field(default=3, ge=0)  # how often a job may queue itself again after it ran out of time
    extra: dict[str, str | int | bool] = {}  # further options of sbatch, without dashes in front


class RayConfig(ElsewhereConfig):
    """Tasks of a Ray cluster."""

    launcher: Literal["ray"] = "ray"
    address: str | None = None  # "auto" or host:port of a cluster; None starts one on this machine for this run
    start: dict[str, float] = {}  # resources of the one that is started, such as {CPU: 8, GPU: 2}


CONFIGS: dict[LauncherName, type[LauncherConfig]] = {
    "local": LocalConfig,
    "slurm": SlurmConfig,
    "ray": RayConfig,
    "commands": CommandsConfig,
}


def load_config(launcher: str, path: Path | None) -> LauncherConfig:
    """Return the settings of a launcher, from a YAML file or all by default.

    Raises:
        UserError: if there is no such launcher or file, or for a mistake in the file.
    """
    if launcher not in CONFIGS:
        raise UserError(f"unknown launcher {launcher!r}.{suggestion(launcher, CONFIGS)} Known: {', '.join(CONFIGS)}")
    kind = CONFIGS[launcher]
    if path is None:
        return kind.model_validate({})
    try:
        return kind.model_validate(_document(launcher, kind, path))
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from None


def _document(launcher: str, kind: type[LauncherConfig], path: Path) -> dict[str, Any]:
    fields = [name for name in kind.model_fields if name != "launcher"]
    try:
        document = read_mapping(path, ", ".join(fields))
    except FileNotFoundError:
        raise UserError(f"--launcher-config {path}: there is no such file") from None
    named = document.get("launcher", launcher)
    if isinstance(named, str) and named in CONFIGS and named != launcher:
        raise UserError(f"{path} is for launcher {named!r}; give --launcher {named}, or another file")
    for key in document.keys() - kind.model_fields:
        owners = [name for name, other in CONFIGS.items() if key in other.model_fields]
        if owners:
            raise UserError(
                f"{path}: {key!r} is a setting of --launcher {' and '.join(owners)}, not of {launcher}; remove it, or "
                "choose another launcher"
            )
    return document
