"""`hostler run SCRIPT` for a Slurm batch script: which options are allowed with it, `--print`,
and warnings about variables that the script will not get."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hostler.base.errors import HostlerError, InputError
from hostler.base.json_types import JsonTable
from hostler.cli.shared import note_for, open_client
from hostler.client import Client
from hostler.client.submission import code_of
from hostler.sbatch.job import BatchJob
from hostler.sbatch.limits import limit_notes
from hostler.sbatch.output import with_log_files
from hostler.sbatch.places import Places, placed
from hostler.sbatch.values import Array
from hostler.submit.batch import BatchScript, batch_body, batch_text, read_batch_script
from hostler.submit.batch_variables import may_use_secrets, unpassed_variables
from hostler.submit.body import shell_env
from hostler.submit.secrets import told_variables
from hostler_agent.json_values import strings


def batch_script(args: argparse.Namespace) -> BatchScript | None:
    """The batch script in FILE; None if it is not one. Raises InputError."""
    found = read_batch_script(args.file) if args.file is not None else None
    if found is None:
        if args.words:
            word = args.words[0]
            first = "CMD" if Path(args.file).exists() else args.file
            raise InputError(
                f"{word!r} is an unexpected argument",
                remedy="Write a command after --: `hostler run -- "
                f"{shlex.join([first, *args.words])}`",
            )
        if args.print:
            raise InputError("--print needs a Slurm batch script", remedy="Name one as FILE")
        return None
    wrong = next((name for name in ("each", "params") if getattr(args, name)), None)
    if wrong:
        raise InputError(
            f"{'-p' if wrong == 'params' else f'--{wrong}'} does not work with a batch script",
            remedy="Use --array, or pass the values as arguments behind its name",
        )
    return replace(found, job=_with_own(found.job, args))


def _with_own(job: BatchJob, args: argparse.Namespace) -> BatchJob:
    """Replace the header's name and array by --name and --array."""
    if args.name is not None:
        job = replace(job, name=args.name)
    if args.array is not None:
        numbers = tuple(sorted(args.array.numbers))
        job = replace(job, array=Array(numbers, at_once=args.array.max_parallel))
    return job


def batch_submission(
    args: argparse.Namespace, script: BatchScript, options: JsonTable
) -> tuple[Client, JsonTable, Path]:
    """A daemon, what to submit to it, and the folder of the code. With --print, writes the pipeline
    file. `options`: those of a command, by the names of the API."""
    say = note_for(args)
    client = open_client(args)
    known = client.version().slurm
    places = Places(partitions=known.partitions, features=known.features)
    job = placed(script.job, places)
    if not (options.get("image") or options.get("secrets")):
        job = with_log_files(job, script.start)
    script = replace(script, job=job)
    code = str(options.get("code") or client.carry_out(code_of(script.folder)))
    if code == "none":
        raise InputError(
            f"no copy of {script.folder} is sent to the hosts, and the script would not be there",
            remedy="Put the script into a folder of its own, and submit it from there",
        )
    own = ("code", "name", "array", "max_parallel")
    options = {name: value for name, value in options.items() if name not in own}
    unset = script.unset_variables(code, options)
    limits = limit_notes(script.job, options)
    nested = () if options.get("nested") else script.nested_notes
    notes = (*script.notes, *limits, *unset, *nested, *_told(args, script))
    for line in (*notes, *_unpassed(args, script, client)):
        say(line)
    words = [*args.words, *(args.command or ())]
    secrets = strings(options.get("secrets"))
    body = batch_body(script, code, options, words, os.environ, secrets)
    if args.print:
        sys.stdout.write(batch_text(script, code, options))
    for name in ("after", "after_any"):
        if runs := [*strings(body.get(name)), *(getattr(args, name) or ())]:
            body[name] = [*runs]
    return client, body, script.folder


def _unpassed(args: argparse.Namespace, script: BatchScript, client: Client) -> list[str]:
    """Variables of the submitter that the script uses and does not receive."""
    if "ALL" not in script.job.export:
        return []  # it does not expect them
    stored: tuple[str, ...] = ()
    if may_use_secrets(script.commands):
        with suppress(HostlerError):  # an older daemon has none
            stored = tuple(secret.name for secret in client.secrets())
    named = [word.partition("=")[0] for word in (*script.job.export, *(args.env or ()))]
    passed = [*named, *(args.secret or ()), *shell_env(os.environ)]
    return [*unpassed_variables(script.commands, passed, os.environ, stored)]


def _told(args: argparse.Namespace, script: BatchScript) -> list[str]:
    """Variables whose values should be secrets instead."""
    named = [part for part in script.job.export if part not in ("ALL", "NONE", "NIL")]
    return told_variables([*named, *(args.env or ())], os.environ)
