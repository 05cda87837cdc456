"""Secrets inside a container: files in /run/secrets, and an entry command that turns them into
variables.

Docker shows the variables of a container to all its users, so secrets are not set there. The
image's own `sh` reads each file, exports it, and then runs the image's own entry point. Pure.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

from hostler.model.jobs import Job
from hostler.runtimes.docker.body import ContainerBody, MountEntry
from hostler_agent.secretfiles import VARIABLE

FOLDER = "/run/secrets"
"""The folder of the files, in every container."""

# Uses only the shell itself: `read` keeps each line unchanged, and puts the text after the last
# line break into the variable.
_SCRIPT = """for _hostler_name in {names}; do
_hostler_file={folder}/$_hostler_name
if [ ! -r "$_hostler_file" ]; then
echo "hostler: the secret $_hostler_name cannot be read in this container" >&2
exit 126
fi
_hostler_value=
while IFS= read -r _hostler_line; do
_hostler_value="$_hostler_value$_hostler_line
"
done <"$_hostler_file"
export "$_hostler_name=$_hostler_value$_hostler_line"
done
unset _hostler_name _hostler_file _hostler_value _hostler_line
exec "$@"
"""


def needs_shell(job: Job) -> bool:
    """Whether any secret becomes a variable."""
    return any(given.as_variable for given in job.secrets)


def with_secrets(body: ContainerBody, folder: str, entry: Sequence[str], job: Job) -> ContainerBody:
    """The body with the secret files of the host's `folder`. `entry`: the image's ENTRYPOINT.

    Each file is a separate mount. systemd empties the folder when the last session of the login
    ends, even if no daemon is connected; a mounted file remains.
    """
    config = body["HostConfig"]
    mounts = [_mount(folder, given.name) for given in job.secrets]
    changed: ContainerBody = {
        **body,
        "Env": [*body["Env"], f"{VARIABLE}={FOLDER}"],
        "HostConfig": {**config, "Mounts": [*config.get("Mounts", ()), *mounts]},
    }
    names = [given.name for given in job.secrets if given.as_variable]
    if not names:
        return changed
    script = _SCRIPT.format(names=shlex.join(names), folder=FOLDER)
    changed["Entrypoint"] = ["sh", "-c", script, "hostler"]
    changed["Cmd"] = [*entry, *body["Cmd"]]
    return changed


def _mount(folder: str, name: str) -> MountEntry:
    return {
        "Type": "bind",
        "Source": posixpath.join(folder, name),
        "Target": posixpath.join(FOLDER, name),
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }
