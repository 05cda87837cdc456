"""The questions whose answers are stored: commands with --json, and calls of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["exact", "shape", "keys"]


@dataclass(frozen=True)
class Question:
    """`name` of the file. `words` of a command, or a call: method, target, body; a GET is its
    target alone. {done} is a run's id."""

    name: str
    words: str
    form: Form = "exact"
    """"shape": keys and types only, where values are measured. "keys": those of the object itself,
    where what is in it depends on how fast the daemon works."""
    code: int = 0
    """Exit code; of a call 0."""
    lines: bool = False
    """JSON lines, whose order depends on the moment; else one value."""


COMMANDS = (
    Question("version", "version --json", "shape"),
    Question("gpus", "gpus --json"),
    Question("gpus-need-yes", "gpus --need 1 --host gpu2 --json"),
    Question("gpus-need-no", "gpus --need 9 --json", code=3),
    Question("hosts", "hosts --json"),
    Question("ps", "ps --json"),
    Question("runs", "runs --json"),
    Question("show", "show {done} --json"),
    Question("show-failed", "show {failed} --json"),
    Question("show-cancelled", "show {cancelled} --json"),
    Question("show-running", "show {running} --json"),
    Question("show-waiting", "show {waiting} --json"),
    Question("why", "why {waiting} --json"),
    Question("why-done", "why {done} --json"),
    Question("events", "events --json", lines=True),
    Question("events-run", "events --run {done} --json", lines=True),
    Question("events-host", "events --host gpu3 --json", lines=True),
    Question("alerts", "alerts --json"),
    Question("audit", "audit --json"),
    Question("usage", "usage --json", "shape"),
    Question("usage-host", "usage --host gpu2 --json", "shape"),
    Question("usage-run", "usage {running}/run --json", "shape"),
    Question("compare", "compare {done} {other} --json"),
    Question("plan", "run --plan --json"),
    Question("plan-command", "run --plan --json --gpus 1 --code none -- python3 train.py"),
    Question("gc", "gc --dry-run --json"),
    Question("ls", "ls {running} --json"),
    Question("secrets", "secret ls --json"),
    Question("images", "images ls --json"),
    Question("services", "services --json"),
    Question("tokens", "token ls --json"),
    Question("get-list", "get {done} --list --json"),
    Question("get", "get {done} data.csv -o got --json"),
    Question("wait-done", "wait {done} --json"),
    Question("wait-failed", "wait {failed} --json", code=6),
    Question("wait-cancelled", "wait {cancelled} --json", code=7),
    Question("wait-timeout", "wait {waiting} --timeout 0.05s --json", code=8),
    Question("retry-plan", "retry {failed} --plan --json"),
    Question("keep", "keep {done} --json"),
    Question("clean", "host clean gpu1 --dry-run --json", "shape"),
    Question("config", "config show --json"),
    Question("daemon-status", "daemon status --json", "shape"),
    Question("run", "run -d --json", "keys"),
    Question("retry", "retry {failed} --json", "keys"),
    Question("rerun", "rerun {failed} --same-code --json", "keys"),
    Question("build", "build {folder}/image -d --json", "keys"),
    Question("deploy-plan", "deploy {folder}/web --plan --json", "keys"),
    Question("deploy", "deploy {folder}/web -d -y --json", "keys"),
    Question("releases", "releases web --json", "keys"),
    Question("release-changes", "releases web --diff 1 1 --json"),
    Question("rollback-plan", "rollback web --plan --json", "keys"),
    Question("rollback", "rollback web -d -y --json", "keys"),
)
"""In this order: the last ones make runs."""
CODES = (
    "version",
    "frobnicate",
    "show",
    "show rzzzzzz --json",
    "hosts nowhere",
    "run missing.toml",
    "run --gpus x -- true",
    "gpus --need 2 --host gpu1 -q",
    "gpus --need 2 --host gpu2 -q",
    "gpus --socket {folder}/nobody",
    "ps --socket {folder}/nobody",
    "daemon status --socket {folder}/nobody",
    "show {done}",
    "wait {done}",
    "wait {failed}",
    "wait {cancelled}",
    "wait {waiting} --timeout 0.05s",
    "run --wait --code none --name codes --env SIM='seconds=0 exit=9 lines=0' -- true",
    "cancel {done} -y",
    "rm {done}",
    "priority {waiting} 5",
    "undrain gpu1 nowhere",
    "config show",
)
"""Commands whose exit codes are stored, and whether they answer anything on stdout."""
ELSEWHERE = {"doctor": "asks real machines"}
"""Commands with --json that a simulated lab cannot answer."""

GETS = (
    Question("version", "/v1/version", "shape"),
    Question("gpus", "/v1/gpus"),
    Question("hosts", "/v1/hosts"),
    Question("host", "/v1/hosts/gpu2"),
    Question("host-history", "/v1/hosts/gpu2/history", "shape"),
    Question("fleet-history", "/v1/history/fleet", "shape"),
    Question("history", "/v1/history/runs"),
    Question("history-sorted", "/v1/history/runs?sort=-accuracy&limit=2"),
    Question("compare", "/v1/history/compare?run={done}&run={other}"),
    Question("runs", "/v1/runs"),
    Question("run", "/v1/runs/{done}"),
    Question("source", "/v1/runs/{done}/source"),
    Question("why", "/v1/runs/{waiting}/why"),
    Question("metrics", "/v1/runs/{done}/metrics/train.0"),
    Question("metrics-points", "/v1/runs/{done}/metrics/train.0?points=2"),
    Question("artifacts", "/v1/runs/{done}/artifacts"),
    Question("files", "/v1/runs/{done}/files"),
    Question("ls", "/v1/runs/{running}/ls/long"),
    Question("content", "/v1/runs/{done}/files/train.0/content?path=model.pt"),
    Question("kept", "/v1/runs/{done}/kept"),
    Question("usage", "/v1/runs/{running}/usage/run", "shape"),
    Question("events", "/v1/events", lines=True),
    Question("run-events", "/v1/runs/{done}/events", lines=True),
    Question("logs", "/v1/runs/{done}/logs/train.0"),
    Question("alerts", "/v1/alerts"),
    Question("audit", "/v1/audit"),
    Question("secrets", "/v1/secrets"),
    Question("images", "/v1/images"),
    Question("services", "/v1/services"),
    Question("tokens", "/v1/tokens"),
    Question("no-releases", "/v1/deploy/nothing"),
    Question("no-changes", "/v1/deploy/nothing/2/changes?against=1"),
    Question("no-traffic", "/v1/services/nothing/traffic?minutes=5"),
    Question("no-such-run", "/v1/runs/rzzzzzz"),
    Question("no-such-host", "/v1/hosts/nowhere"),
    Question("wrong-query", "/v1/runs?limit=0"),
)
CHANGES = (
    Question("check", 'POST /v1/check {"command": {"command": ["true"]}}'),
    Question("check-refused", 'POST /v1/check {"pipeline": "nmae = 1"}'),
    Question("plan", 'POST /v1/plan {"command": {"command": ["true"]}}', "shape"),
    Question("drain", 'POST /v1/hosts/gpu1/drain {"reason": "new fans"}'),
    Question("undrain", "POST /v1/hosts/gpu1/undrain {}"),
    Question("retry-host", "POST /v1/hosts/gpu1/retry {}"),
    Question("clean", 'POST /v1/hosts/gpu1/clean {"dry_run": true}', "shape"),
    Question("gc", 'POST /v1/gc {"dry_run": true}'),
    Question("keep", 'POST /v1/runs/{other}/keep {"until": null}'),
    Question("unkeep", "DELETE /v1/runs/{other}/keep"),
    Question("priority", 'POST /v1/runs/{waiting}/priority {"priority": -7}', "keys"),
    Question("retry-plan", "POST /v1/runs/{failed}/retry/plan {}"),
    Question("acknowledge", "POST /v1/alerts/99999/acknowledge {}"),
    Question("unacknowledge", "POST /v1/alerts/99999/unacknowledge {}"),
    Question(
        "fetched",
        'POST /v1/runs/{done}/files/prepare/fetched {"attempt_id": "x", "artifact": "data"}',
    ),
    Question("cancel", "POST /v1/runs/{waiting}/cancel {}", "keys"),
    Question("cancel-refused", "POST /v1/runs/{done}/cancel {}"),
    Question("remove", "DELETE /v1/runs/{failed}"),
    Question("secret", 'PUT /v1/secrets/HF_TOKEN "hf_golden"'),
    Question("secret-refused", 'PUT /v1/secrets/PATH "hf_golden"'),
    Question("token-without-gateway", 'POST /v1/tokens {"seconds": 60}'),
    Question("token-unknown", "DELETE /v1/tokens/t1"),
    Question("secret-removed", "DELETE /v1/secrets/HF_TOKEN"),
    Question("image-sent", 'POST /v1/images/send {"image": "x", "hosts": ["gpu1"]}'),
    Question("image-refused", 'POST /v1/images/send {"image": "x", "hosts": ["nowhere"]}'),
    Question("image-removed", 'POST /v1/images/remove {"image": "x"}'),
    Question("scale-refused", 'POST /v1/services/serve/scale {"replicas": 0}'),
    Question("stop-refused", "POST /v1/services/serve/stop {}"),
    Question("extend-refused", 'POST /v1/services/serve/extend {"seconds": 60}'),
    Question("deploy-refused", 'POST /v1/deploy {"pipeline": "nmae = 1"}'),
    Question("deploy-plan-refused", 'POST /v1/deploy/plan {"pipeline": "nmae = 1"}'),
    Question("rollback-plan-refused", 'POST /v1/deploy/nothing/rollback/plan {"release": 3}'),
    Question("rollback-refused", 'POST /v1/deploy/nothing/rollback {"release": 3}'),
    Question("no-such-call", "POST /v1/nothing {}"),
    Question("shutdown", "POST /v1/shutdown {}"),
)
"""Calls that change something, in this order, after all else: the last one stops the daemon."""
NOT_ASKED = {
    "POST /v1/runs": "cli/run",
    "POST /v1/runs/{run_id}/retry": "cli/retry",
    "POST /v1/runs/{run_id}/rerun": "cli/rerun",
    "HEAD /v1/snapshots/{digest}": "every run with a source asks and sends one",
    "PUT /v1/snapshots/{digest}": "the same",
    "POST /v1/ssh-agent": "it would change where logins come from",
}
"""Calls that are not asked by themselves, and what stands for them."""
