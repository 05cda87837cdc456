"""The calls about daemon, hosts, runs, files, history, alerts: path, defaults, answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hostler.base.json_types import JsonTable
from hostler.base.wire import target
from hostler.client.call import (
    CHANGE_S,
    SLOW_S,
    Call,
    as_fleet,
    delete,
    get,
    new_key,
    new_run,
    nothing,
    post,
    run_detail,
    stream_line,
)
from hostler.model import views
from hostler.model.codec import from_answer as read
from hostler_agent.json_values import Outgoing


def version() -> Call[views.daemon.DaemonView]:
    """The daemon: `version`, `api`, `daemon_id`, `pid`, `started_at`, `state`,
    whether the lab is `simulated`, whether its machine is the only host, how many `gpus` there
    are, and what words of batch scripts mean (`slurm`)."""
    return get(lambda told: read(views.daemon.DaemonView, told), "version")


def gpus() -> Call[views.gpus.FleetView]:
    """The `hostler.gpus/1` object: every host and GPU with its state."""
    return get(as_fleet, "gpus")


def hosts() -> Call[tuple[views.hosts.HostView, ...]]:
    """All hosts, each with look and facts."""
    return get(lambda told: read(views.hosts.HostList, told).hosts, "hosts")


def host(name: str) -> Call[views.hosts.HostView]:
    """One host with its look and facts."""
    return get(lambda told: read(views.hosts.HostView, told), "hosts", name)


def host_history(name: str, minutes: int = 60) -> Call[views.history.HostHistory]:
    """The `hostler.history/1` object: recent values of each GPU of a host, one per minute."""
    return get(
        lambda told: read(views.history.HostHistory, told),
        "hosts",
        name,
        "history",
        minutes=minutes,
    )


def fleet_history(minutes: int = 60) -> Call[views.history.FleetHistory]:
    """Mean utilization and total power of all GPUs, one value per minute."""
    return get(
        lambda told: read(views.history.FleetHistory, told), "history", "fleet", minutes=minutes
    )


def drain(name: str, reason: str = "") -> Call[None]:
    """Place no new work on a host; running work continues."""
    return post(nothing, "hosts", name, "drain", body={"reason": reason})


def undrain(name: str) -> Call[None]:
    """Place work on a host again."""
    return post(nothing, "hosts", name, "undrain", body={})


def clean_host(
    name: str, *, dry_run: bool = False, checkpoints: bool = False, kept: bool = False,
    shown_at: float | None = None,
) -> Call[views.hosts.CleanView]:  # fmt: skip
    """Remove from a host what no open or kept run needs; `dry_run` only lists it. `shown_at`: the
    `at` of such an answer; files and checkpoints of runs that ended since then stay."""
    wish: JsonTable = {"dry_run": dry_run, "checkpoints": checkpoints, "kept": kept}
    if shown_at is not None:
        wish["shown_at"] = shown_at
    return post(lambda told: read(views.hosts.CleanView, told), "hosts", name, "clean", body=wish)


def retry_host(name: str) -> Call[None]:
    """Connect to a host at once, even if it refused the login before."""
    return post(nothing, "hosts", name, "retry")


def snapshot(digest: str, method: str) -> Call[None]:
    """HEAD: is it there? PUT: here it is."""
    least = CHANGE_S if method == "PUT" else 0.0
    return Call(method, target(["snapshots", digest]), nothing, least=least)


def submit(submission: Outgoing, *, key: str | None = None) -> Call[views.runs.NewRun]:
    """A new run, durable when this returns: a `pipeline` text or a `command`.

    If the answer is lost, the request is sent again, without creating a second run. With a `key`
    of your own (letters, digits, - and _) you can repeat the call yourself, too.
    """
    return post(new_run, "runs", body=dict(submission), key=key or new_key())


def check(submission: Outgoing) -> Call[views.plans.CheckView]:
    """Check a submission before its source is uploaded. Raises PipelineError."""
    return post(lambda told: read(views.plans.CheckView, told), "check", body=dict(submission))


def plan(submission: Outgoing) -> Call[views.plans.PlanView]:
    """Where a submission would be placed; changes nothing."""
    return post(lambda told: read(views.plans.PlanView, told), "plan", body=dict(submission))


def runs(
    *, state: str | None = None, pipeline: str | None = None, owner: str | None = None,
    since: float | None = None, limit: int | None = None,
) -> Call[tuple[views.runs.RunRow, ...]]:  # fmt: skip
    """Summaries of runs, the newest first."""
    return get(
        lambda told: read(views.runs.RunList, told).runs, "runs",
        state=state, pipeline=pipeline, owner=owner, since=since, limit=limit,
    )  # fmt: skip


def show(run_id: str) -> Call[views.runs.RunDetail]:
    """One run with its stages and attempts; the id may be shortened."""
    return get(run_detail, "runs", run_id)


def run_events(
    run_id: str, *, after: int | None = None, follow: bool = False
) -> Call[views.alerts.StreamLine]:
    """A run's stream: each `event` after number `after`, and the `run` on changes.

    With `follow` live, until the run ends or the daemon does.
    """
    return get(stream_line, "runs", run_id, "events", after=after, follow=follow)


def events(
    *, after: int | None = None, limit: int | None = None, follow: bool = False,
    host: str | None = None,
) -> Call[views.alerts.StreamLine]:  # fmt: skip
    """Events (of a `host`) after number `after`, else the latest, at most `limit` (1000), each an
    `event`, in order; with `follow` also new ones."""
    return get(stream_line, "events", after=after, limit=limit, follow=follow, host=host)


def why(run_id: str, stage: str | None = None) -> Call[views.plans.WhyView]:
    """For each stage one sentence, and the full reason while it is pending."""
    return get(lambda told: read(views.plans.WhyView, told), "runs", run_id, "why", stage=stage)


def logs(
    run_id: str, stage: str, *, attempt: int | None = None, offset: int | None = None,
    follow: bool = False, tail: int | None = None, length: int | None = None,
) -> Call[None]:  # fmt: skip
    """A stage's output from byte `offset`, or its last `tail` lines, `length` bytes at most;
    live with `follow`."""
    return get(
        nothing, "runs", run_id, "logs", stage,
        attempt=attempt, offset=offset, follow=follow, tail=tail, length=length,
    )  # fmt: skip


def metrics(
    run_id: str, stage: str, *, points: int | None = None, after: str | None = None
) -> Call[views.history.MetricsPage]:
    """The metrics of a stage as rows: a page after row `after`, or about `points` values of each
    metric."""
    return get(
        lambda told: read(views.history.MetricsPage, told), "runs", run_id, "metrics", stage,
        points=points, after=after,
    )  # fmt: skip


def artifacts(run_id: str) -> Call[tuple[views.files.ArtifactView, ...]]:
    """The stored outputs of a run's stages."""
    return get(
        lambda told: read(views.files.ArtifactList, told).artifacts, "runs", run_id, "artifacts"
    )


def files(run_id: str, *, stage: str | None = None, after: int = 0) -> Call[views.files.FilesPage]:
    """A page of the files of a run that can be fetched."""
    return get(
        lambda told: read(views.files.FilesPage, told), "runs", run_id, "files", least=SLOW_S,
        stage=stage, after=after or None,
    )  # fmt: skip


def list_folder(run_id: str, stage: str, path: str = "") -> Call[views.files.FolderView]:
    """The `hostler.ls/1` object: the contents of a folder of a stage, also while it runs."""
    return get(
        lambda told: read(views.files.FolderView, told),
        "runs",
        run_id,
        "ls",
        stage,
        least=SLOW_S,
        path=path or None,
    )


def read_file(
    run_id: str, stage: str, path: str, *, artifact: str | None = None, attempt: int | None = None,
    offset: int = 0, etag: str = "",
) -> Call[None]:  # fmt: skip
    """The bytes of a file by its path in the working folder, from `offset` if its version is still
    `etag`, else from its beginning."""
    query = {"path": path, "artifact": artifact, "attempt": attempt, "digest": True}
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and etag:
        headers["If-Range"] = etag
    place = target(["runs", run_id, "files", stage, "content"], query)
    return Call("GET", place, nothing, headers=headers, least=SLOW_S)


def note_fetched(
    run_id: str, stage: str, attempt_id: str, artifact: str | None
) -> Call[views.files.Noted]:
    """Report that you have all files of an artifact (None: all that an attempt left on its host),
    so that they are removed first when space is needed. `download` does so itself."""
    body = {"attempt_id": attempt_id, "artifact": artifact}
    return post(
        lambda told: read(views.files.Noted, told),
        "runs",
        run_id,
        "files",
        stage,
        "fetched",
        body=body,
    )


def cancel(run_id: str) -> Call[views.runs.RunDetail]:
    """Cancel a run: pending stages never start, running stages are stopped."""
    return post(run_detail, "runs", run_id, "cancel", body={})


def priority(run_id: str, priority: int) -> Call[views.runs.RunDetail]:
    """Lower the priority of a run that has not ended."""
    return post(run_detail, "runs", run_id, "priority", body={"priority": priority})


def retry(
    run_id: str, *, change: Outgoing | None = None, key: str | None = None
) -> Call[views.runs.NewRun]:
    """A new run of the stages that did not succeed; the others are kept. `key` as in `submit`.

    `change` contains the changes: `params` (name to text), `source` of new code as in `submit`,
    `pipeline` (the file's text as it is now), and `from`, a list of stages that run again. A stage
    whose definition changes runs again, with all stages that need it. `secrets` (name to value)
    are those of the new run only.
    """
    body = dict(change or {})
    return post(new_run, "runs", run_id, "retry", body=body, key=key or new_key())


def plan_retry(run_id: str, *, change: Outgoing | None = None) -> Call[views.plans.RetryView]:
    """What such a retry would do; changes nothing: each of `stages` is `kept`, or runs again for
    the reason `why`. `files` and `links` name the contents of a source that is not uploaded yet."""
    return post(
        lambda told: read(views.plans.RetryView, told),
        "runs",
        run_id,
        "retry",
        "plan",
        body=dict(change or {}),
    )


def rerun(
    run_id: str, *, source: Outgoing | None = None, secrets: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Call[views.runs.RunDetail]:  # fmt: skip
    """A new run of all stages, of new code if a source is given. `secrets` as in `retry`."""
    own = {"secrets": dict(secrets)} if secrets else {}
    body = {"source": source and dict(source), **own}
    return post(run_detail, "runs", run_id, "rerun", body=body, key=key or new_key())


def remove(run_id: str) -> Call[views.runs.RemovedRun]:
    """Remove a finished run and its logs."""
    return delete(lambda told: read(views.runs.RemovedRun, told), "runs", run_id)


def kept(run_id: str) -> Call[views.kept.KeptView]:
    """What is kept of a run, where, and until when."""
    return get(lambda told: read(views.kept.KeptView, told), "runs", run_id, "kept")


def keep(run_id: str, until: float | None = None) -> Call[views.kept.KeptView]:
    """Keep all files of a run, until a time (seconds since the epoch) or forever."""
    return post(
        lambda told: read(views.kept.KeptView, told), "runs", run_id, "keep", body={"until": until}
    )


def unkeep(run_id: str) -> Call[views.kept.KeptView]:
    """Release a kept run: the usual limits apply again."""
    return delete(lambda told: read(views.kept.KeptView, told), "runs", run_id, "keep")


def gc(*, dry_run: bool = False) -> Call[views.kept.GcView]:
    """Free disk space by removing unneeded files; `dry_run` only lists them."""
    return post(lambda told: read(views.kept.GcView, told), "gc", body={"dry_run": dry_run})


def shutdown() -> Call[None]:
    """Stop the daemon; work continues."""
    return post(nothing, "shutdown", body={})


def source(run_id: str) -> Call[views.runs.RunSource]:
    """The origin of a run's code; `git_diff` has its uncommitted changes."""
    return get(lambda told: read(views.runs.RunSource, told), "runs", run_id, "source")


def usage(run_id: str, stage: str) -> Call[views.history.StageUsage]:
    """The use of GPUs by each attempt of a stage, and the values of the last one's GPUs over
    time."""
    return get(lambda told: read(views.history.StageUsage, told), "runs", run_id, "usage", stage)


def history(
    pipeline: str | None = None, owner: str | None = None, state: str | None = None,
    since: float | None = None, until: float | None = None, param: Iterable[str] = (),
    metric: Iterable[str] = (), text: str | None = None, sort: str | None = None,
    limit: int = 100, offset: int = 0, releases: bool = True,
) -> Call[views.history.HistoryPage]:  # fmt: skip
    """All runs, searched: `param` like "lr=0.1", `metric` like "accuracy>=0.9", `sort` like
    "-accuracy". How many match in all (`total`), and a page of them (`runs`). `releases=False`
    leaves runs out that are releases of services (`left_out`)."""
    return get(
        lambda told: read(views.history.HistoryPage, told), "history", "runs",
        pipeline=pipeline, owner=owner, state=state, since=since, until=until, param=tuple(param),
        metric=tuple(metric), text=text, sort=sort, limit=limit, offset=offset, releases=releases,
    )  # fmt: skip


def compare(run_ids: Iterable[str]) -> Call[views.history.ComparedRuns]:
    """Runs side by side: `runs`, `rows` of one value a run, and `series` of their metrics."""
    return get(
        lambda told: read(views.history.ComparedRuns, told), "history", "compare",
        run=tuple(run_ids),
    )  # fmt: skip


def alerts(open_only: bool = False, limit: int = 200) -> Call[views.alerts.AlertList]:
    """The alerts, newest first, and how many are open."""
    return get(
        lambda told: read(views.alerts.AlertList, told), "alerts", open=open_only, limit=limit
    )


def acknowledge(alert_id: int) -> Call[views.alerts.AlertView]:
    """Acknowledge an alert."""
    return post(
        lambda told: read(views.alerts.AlertView, told),
        "alerts",
        str(alert_id),
        "acknowledge",
        body={},
    )


def unacknowledge(alert_id: int) -> Call[views.alerts.AlertView]:
    """Undo the acknowledgement."""
    return post(
        lambda told: read(views.alerts.AlertView, told),
        "alerts",
        str(alert_id),
        "unacknowledge",
        body={},
    )


def audit(
    user: str | None = None, since: float | None = None, call: str | None = None,
    run: str | None = None, limit: int = 100,
) -> Call[views.audit.AuditPage]:  # fmt: skip
    """Calls and their users, newest first (`entries`). The daemon's owner and operators see all
    users, others only themselves. Refused calls have the call "refused"."""
    return get(
        lambda told: read(views.audit.AuditPage, told),
        "audit",
        user=user,
        since=since,
        call=call,
        run=run,
        limit=limit,
    )
