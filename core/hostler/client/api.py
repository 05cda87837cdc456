"""The list of methods that both clients have, each with the call that it makes; calls are
described in calls.py, work.py and the files of one topic."""

from __future__ import annotations

from typing import Any, TypeVar

from hostler.client import calls, streams, work
from hostler.client import images as image_calls
from hostler.client import secrets as own_secrets
from hostler.client import services as of_services
from hostler.client import tokens as own_tokens
from hostler.client.call import Call
from hostler.client.exchange import ask
from hostler.client.flow import Io
from hostler.client.methods import Handles, Method, Opening, RunMethod, Stream
from hostler.client.streams import AsyncLog, AsyncRemoteFile, Log, RemoteFile

T = TypeVar("T")


def request(call: Call[T], *, timeout: float | None = None) -> Io[T]:
    """Any call of the API; its answer. `timeout` replaces the default of such calls."""
    return ask(call, timeout)


def find(name: str) -> Io[str]:
    """A handle of an existing run, by its id, the beginning of its id, or `last`."""
    return (yield from ask(calls.show(name))).run_id


def run(*args: Any, **kwargs: Any) -> Io[str]:
    """A new run of a pipeline file, or of one command (a list of words), with the code that it
    needs. Starts your personal daemon if it does not run. Returns when the run is stored durably.

    Of a pipeline, further arguments are parameters (`lr=0.1`); `params` takes those whose names
    mean something here. Of a command they say what it needs, by the names of a stage's keys in
    pipeline.toml (`gpus=1`), and `folder` where its code lies (default: the working folder).
    `secrets` are values by name that only this run gets, or names of variables of the caller's
    environment. `after` and `after_any` are ids of runs that have to succeed, or to end, before;
    `args` are the words of `{args}` in commands of a pipeline. `include` names files that git
    ignores and that go along, `say` is given notes for people. With a `key` of your own the same
    call makes no second run.
    """
    from hostler.client.submission import run  # what packs code takes time to load

    return run(*args, **kwargs)


class Api:
    """The calls of the daemon's API."""

    request = Method(request)

    version = Method(calls.version)
    gpus = Method(calls.gpus)
    hosts = Method(calls.hosts)
    host = Method(calls.host)
    host_history = Method(calls.host_history)
    fleet_history = Method(calls.fleet_history)
    drain = Method(calls.drain)
    undrain = Method(calls.undrain)
    clean_host = Method(calls.clean_host)
    retry_host = Method(calls.retry_host)

    has_snapshot = Method(work.has_snapshot)
    put_snapshot = Method(work.put_snapshot)
    check = Method(calls.check)
    plan = Method(calls.plan)
    submit = Method(calls.submit)

    secrets = Method(own_secrets.names)
    set_secret = Method(own_secrets.put)
    remove_secret = Method(own_secrets.remove)

    services = Method(of_services.listed)
    traffic = Method(of_services.traffic)
    scale = Method(of_services.scale)
    stop = Method(of_services.stop)
    extend = Method(of_services.extend)
    deploy = Method(of_services.deploy)
    plan_deploy = Method(of_services.plan_deploy)
    releases = Method(of_services.releases)
    rollback = Method(of_services.rollback)
    plan_rollback = Method(of_services.plan_rollback)
    release_changes = Method(of_services.release_changes)

    tokens = Method(own_tokens.listed)
    new_token = Method(own_tokens.new)
    revoke_token = Method(own_tokens.revoke)

    run = RunMethod(run)
    find = Handles(find)
    runs = Method(calls.runs)
    show = Method(calls.show)
    why = Method(calls.why)
    wait = Method(work.wait)
    run_events = Stream(streams.run_events)
    events = Stream(streams.events)
    logs = Opening(calls.logs, Log, AsyncLog)
    metrics = Method(work.metrics)
    usage = Method(calls.usage)
    source = Method(calls.source)

    cancel = Method(calls.cancel)
    priority = Method(calls.priority)
    retry = Method(calls.retry)
    plan_retry = Method(calls.plan_retry)
    rerun = Method(calls.rerun)
    remove = Method(calls.remove)
    kept = Method(calls.kept)
    keep = Method(calls.keep)
    unkeep = Method(calls.unkeep)

    artifacts = Method(calls.artifacts)
    files = Method(work.files)
    list_folder = Method(calls.list_folder)
    read_file = Opening(calls.read_file, RemoteFile, AsyncRemoteFile)
    note_fetched = Method(calls.note_fetched)
    download = Method(work.download)

    history = Method(calls.history)
    compare = Method(calls.compare)
    alerts = Method(calls.alerts)
    acknowledge = Method(calls.acknowledge)
    unacknowledge = Method(calls.unacknowledge)
    audit = Method(calls.audit)
    images = Method(image_calls.images)
    send_image = Method(image_calls.send)
    remove_image = Method(image_calls.remove)
    gc = Method(calls.gc)
    shutdown = Method(calls.shutdown)
