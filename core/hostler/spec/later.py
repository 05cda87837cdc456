"""Keys that are not supported yet (`nodes`, `mig`, `quotas` ...), refused by name with the words of
each refusal.
"""

from __future__ import annotations

from collections.abc import Mapping

from hostler.model.config import Config, DaemonConfig, HostConfig
from hostler.model.pipeline_file import HeadTable, PipelineTable, StageTable
from hostler.model.pipelines import Resources

_HOST = "this version runs a stage on one host"

STAGE = {
    "build": '`build` is a kind of stage: [stages.image] with kind = "build", and others say '
    'image = "image"',
    "nodes": f"`nodes` (several hosts at once) is not supported yet; {_HOST}",
    "launcher": f"`launcher` (starting one process per GPU or host) is not supported yet; {_HOST}, "
    "where the command may be `torchrun` itself",
    "preemptible": "`preemptible` (ending for a higher priority) is not supported yet; a "
    "running stage "
    "keeps its GPUs until it ends",
    "cache": "`cache` (skipping unchanged stages) is not supported yet; a run executes every "
    "stage, and `hostler retry` only those that did not succeed",
    "ports": "a service has one `port`",
    "release": "`release` is no key: `hostler deploy FILE` makes a release of a service",
    "schedule": "`schedule` is not supported yet: start the run with cron",
    "sessions": "`sessions` (interactive stages) is not supported yet; stages have no terminal",
    "user": "`user` is not supported: a stage runs as the person who submits it",
    "network": "`network` cannot be set for a stage; see [docker] in config.toml",
    "privileged": "`privileged` is not supported: name folders of the host in `mounts`",
    "volumes": "`volumes` is not supported: name folders under [mounts] in config.toml, and those "
    "names in `mounts`",
    "semaphores": "`semaphores` is not supported yet; `max_parallel` limits the cells of one stage",
}

RESOURCES = {
    "nodes": STAGE["nodes"],
    "mig": "`mig` (parts of a GPU) is not supported yet; a stage gets whole GPUs",
    "gpu_share": "`gpu_share` (parts of a GPU) is not supported yet; a stage gets whole GPUs",
    "memory": "say which memory: `ram` is the host's, `gpu_memory` the size of each card",
}

PIPELINE = {
    "triggers": "`triggers` is not supported yet: start the run with cron or a git hook",
    "sessions": STAGE["sessions"],
    "user": STAGE["user"],
    "notify": "`notify` is not supported yet: `hostler wait RUN` ends when the run does",
    "services": 'a service is a stage with kind = "service"',
    "include": "`include` is not supported yet: a pipeline is one file",
}

_TURNS = "at equal priority, the user with the fewest GPUs goes first, then the oldest run"

CONFIG = {
    "notify": "`notify` is not supported yet: `hostler wait RUN` ends when the run does",
    "quotas": f"`quotas` is not supported yet; {_TURNS}",
    "users": "`users` is not supported yet; all users of the daemon may submit",
    "fairness": f"`fairness` has no settings yet; {_TURNS}",
    "secrets": "`secrets` are each person's own: hostler secret set NAME",
    "triggers": "`triggers` is not supported yet: start runs with cron",
    "electricity": "`electricity` (a price) is not supported yet; energy is shown in Wh",
    "registry": "`registry` is not supported: images are pulled with the `docker login` of the "
    "daemon's machine",
    "base_image": "`base_image` is not supported yet; a stage without an image runs as a process",
}

HOST = {
    "gpus": "`gpus` (hiding some of a host's GPUs) is not supported yet; use `hostler drain` "
    "to close a host",
    "password": "`password` is not supported: log in with a key or the SSH agent",
    "max_gpus": "`max_gpus` is not supported yet; use `hostler drain` to close a host",
}

DAEMON = {
    "listen": "`listen` (TCP) is not supported: the daemon is reached by its Unix socket",
    "port": "`port` (TCP) is not supported: the daemon is reached by its Unix socket",
    "tls": "`tls` is not needed: the daemon is reached by its Unix socket",
}

KEYS: Mapping[type, Mapping[str, str]] = {
    StageTable: STAGE,
    Resources: RESOURCES,
    PipelineTable: PIPELINE,
    HeadTable: PIPELINE,
    Config: CONFIG,
    HostConfig: HOST,
    DaemonConfig: DAEMON,
}
"""By the table in which a user may write them."""
