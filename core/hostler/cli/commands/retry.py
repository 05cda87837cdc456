"""`hostler retry RUN`: run unsuccessful stages again (--from, --new-code, -p), after showing
what is kept; show/retry.py words it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from hostler.base.json_types import JsonTable
from hostler.base.text import texts_in
from hostler.cli.options import pair, run_name
from hostler.cli.shared import (
    add_common,
    add_secret_option,
    hint,
    note_for,
    open_client,
    out,
    out_json,
    out_table,
)
from hostler.show.retry import RETRY_COLUMNS, param_lines, retry_lines, retry_row
from hostler.submit.secrets import all_own_secrets, check_params, check_unseen, with_own

if TYPE_CHECKING:
    from pathlib import Path

    from hostler.client import Client
    from hostler.model.views.plans import RetryView
    from hostler.model.views.runs import NewRun, RunView

EPILOG = """\
Stages that succeeded are kept. A stage runs again if it did not succeed, if -p or the pipeline file
(with --new-code) changed its definition, if --from names it, or if a needed stage runs again.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=run_name, metavar="RUN", help="a finished run, by id; `last`")
    parser.add_argument(
        "--new-code", action="store_true",
        help="use the current code and pipeline file of the run's folder",
    )  # fmt: skip
    parser.add_argument(
        "-p", "--param", dest="params", type=pair, action="append", metavar="NAME=VALUE",
        help="another value of a parameter; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="starts", action="append", metavar="STAGE",
        help="run this stage and all that depend on it again, even if they succeeded; may be "
             "repeated",
    )  # fmt: skip
    parser.add_argument(
        "--plan", action="store_true", help="only show which stages are kept and which run again"
    )
    add_secret_option(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Show what is kept and what runs again; submit the retry; print its id."""
    client, say = open_client(args), note_for(args)
    old = client.show(args.run)
    run_id, folder = old.run_id, None
    params = dict(args.params or ())
    check_params(params)
    own = all_own_secrets(args.secrets or (), os.environ)
    change: JsonTable = {"params": params, "from": list(args.starts or ()), **with_own(own)}
    if args.new_code:
        from hostler.submit.body import code_folder

        folder = code_folder(old, client.found, "leave --new-code out")
        change |= _pipeline(old, folder, say)
    check_unseen(own, texts_in([params, change.get("pipeline"), change.get("lines")]))
    plan = client.plan_retry(run_id, change=change | _unsent(old, change, folder))
    if args.plan:
        return _show(args, plan)
    for line in retry_lines(plan):
        say(line)
    if folder is not None:
        change |= {"source": _source(client, old, plan, folder, say)}
    return _tell(args, old, client.retry(run_id, change=change), plan)


def _pipeline(old: RunView, folder: Path, say: Callable[[str], None]) -> JsonTable:
    """The present text of the run's pipeline file in the folder; empty if the folder does not have
    it."""
    from hostler.submit.batch import is_batch_file
    from hostler.submit.body import pipeline_text
    from hostler.submit.line_files import lines_of_files

    name = old.file
    if not name:
        return {}
    if not (folder / name).is_file():
        say(f"{folder} has no {name} any more: the stages keep their definitions")
        return {}
    if is_batch_file(folder / name):
        say(f"the #SBATCH lines of {name} are not read again: the stages keep their definitions")
        return {}
    text = pipeline_text(folder / name)
    return {"pipeline": text, "file": name, **lines_of_files(text, folder)}


def _unsent(old: RunView, change: JsonTable, folder: Path | None) -> JsonTable:
    """A placeholder for new code before it is sent."""
    if folder is None:
        return {}
    from hostler.submit.body import names_of_files

    names = names_of_files(str(change.get("pipeline", "")), folder, _include(old))
    return {"source": {"path": str(folder)}, **names}


def _source(
    client: Client,
    old: RunView,
    plan: RetryView,
    folder: Path,
    say: Callable[[str], None],
) -> JsonTable:
    if not plan.snapshot:
        return {"path": str(folder)}
    from hostler.client.submission import sent_source

    words = [word for stage in old.stages for word in stage.command]
    return client.carry_out(sent_source(folder, plan, say, _include(old), words))


def _include(old: RunView) -> list[str]:
    return list(old.source.include)


def _show(args: argparse.Namespace, plan: RetryView) -> int:
    if args.json:
        out_json("retry", plan)
        return 0
    for line in param_lines(plan):
        note_for(args)(line)
    out_table(args, RETRY_COLUMNS, [retry_row(stage) for stage in plan.stages])
    return 0


def _tell(args: argparse.Namespace, old: RunView, made: NewRun, plan: RetryView) -> int:
    from pathlib import Path

    from hostler.model.codec import to_json
    from hostler.submit.remembered import tell_once

    if args.json:
        out_json("run", {**to_json(made), "plan": plan.stages})
        return 0
    run_id = made.run_id
    say, folder = note_for(args), Path(old.source.path or "/")
    if made.no_host:
        say(f"{made.no_host}; hostler why {run_id}")
    if made.own_gpus:
        say(made.own_gpus)
    tell_once(folder, filter(None, [made.dropped_environment]), say)
    out(str(run_id))
    hint(args, f"see it: hostler show {run_id}   wait for it: hostler wait {run_id}")
    return 0
