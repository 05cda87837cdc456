"""Secrets of people and runs in a daemon: checked for, handed out, masked, forgotten."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, InputError, NotFoundError, StateError
from hostler.base.secret import Secret
from hostler.base.secret_rules import MAX_KEPT
from hostler.daemon.deploys import Wanted, deploys_of
from hostler.daemon.retry import Change
from hostler.daemon.secrets import Secrets
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.jobs import GivenSecret
from hostler.model.runs import Outcome, Phase, Run
from hostler.store.secrets import RunSecrets, SecretStore
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

BO = Caller(1001, "bo")
TOKEN, NEWER, OWN = Secret("hf_sesame_open"), Secret("hf_newer_value"), Secret("own-of-a-run")
PIPELINE = """
name = "x"
[stages.train]
command = "true"
secrets = ["HF_TOKEN"]
"""
FROM = PIPELINE.replace('secrets = ["HF_TOKEN"]', 'env = { HF_TOKEN = { from = "submitter" } }')


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[SimDaemon]:
    async with SimDaemon(small_lab(), tmp_path / "state") as running:
        yield running


def secrets_of(daemon: SimDaemon) -> Secrets:
    return daemon.daemon.context.secrets


async def submit(daemon: SimDaemon, text: str = PIPELINE, /, **own: Secret) -> Run:
    return await daemon.daemon.service.submit(Submission(pipeline=text, secrets=own), ANA)


async def test_a_stage_gets_the_newest_value_and_the_runs_own_goes_first(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    run = await daemon.run(await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000))
    one = run.stages[0]
    await secrets.put(ANA, "A", TOKEN)
    await secrets.put(BO, "A", OWN)
    assert await secrets.of_attempt(run, one) == (GivenSecret("A", TOKEN),)
    await secrets.put(ANA, "A", NEWER)
    assert await secrets.of_attempt(run, one) == (GivenSecret("A", NEWER),)
    assert secrets.masked_values(run.run_id) == (TOKEN.reveal(), NEWER.reveal())
    await secrets.confirm(run.run_id, {"A": OWN})
    assert await secrets.of_attempt(run, one) == (GivenSecret("A", OWN),)


async def test_a_file_is_no_variable(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    both = stage("a", gpus=99, secrets=("A",), secret_files=("B",))
    run = await daemon.run(await daemon.submit(both, uid=1000))
    await secrets.put(ANA, "A", TOKEN)
    await secrets.put(ANA, "B", OWN)
    found = await secrets.of_attempt(run, run.stages[0])
    assert found == (GivenSecret("A", TOKEN), GivenSecret("B", OWN, as_variable=False))
    assert TOKEN.reveal() not in repr(found)


async def test_what_is_handed_out_is_on_disk_before(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    await secrets.put(ANA, "A", TOKEN)
    run = await daemon.run(await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000))
    (daemon.state / "secrets/runs").mkdir(mode=0o700)
    runs = daemon.state / "secrets/runs"
    runs.rmdir()
    runs.write_text("in the way")
    for _ in range(2):  # the second time, too: it was never on disk
        with pytest.raises(StateError):
            await secrets.of_attempt(run, run.stages[0])
    runs.unlink()
    await secrets.of_attempt(run, run.stages[0])
    assert SecretStore(daemon.state).run(run.run_id) == RunSecrets({}, (TOKEN,))


async def test_missing_ones_are_refused_with_what_to_do(daemon: SimDaemon) -> None:
    with pytest.raises(InputError) as caught:
        await submit(daemon)
    assert caught.value.message == ("stage train wants the secret HF_TOKEN, which you have not set")
    assert caught.value.remedy == (
        "set it: hostler secret set HF_TOKEN; or take it from your shell for this run: "
        "hostler run --secret HF_TOKEN"
    )
    await secrets_of(daemon).put(BO, "HF_TOKEN", TOKEN)  # somebody else's helps nobody
    with pytest.raises(InputError, match="which you have not set"):
        await submit(daemon)
    for call in (daemon.daemon.service.check, daemon.daemon.service.preview):
        with pytest.raises(InputError, match="which you have not set"):
            await call(Submission(pipeline=PIPELINE), ANA)
    await secrets_of(daemon).put(ANA, "HF_TOKEN", TOKEN)
    await submit(daemon)


async def test_what_is_the_submitters_only_the_submission_gives(daemon: SimDaemon) -> None:
    await secrets_of(daemon).put(ANA, "HF_TOKEN", TOKEN)
    with pytest.raises(InputError, match="which was not given with it") as caught:
        await submit(daemon, FROM)
    assert caught.value.remedy == (
        "take it from your shell for this run: hostler run --secret HF_TOKEN"
    )
    run = await submit(daemon, FROM, HF_TOKEN=OWN)
    assert run.stages[0].env == {}
    given = await secrets_of(daemon).of_attempt(run, run.stages[0])
    assert given == (GivenSecret("HF_TOKEN", OWN),)


async def test_a_release_of_a_service_takes_only_what_is_kept(daemon: SimDaemon) -> None:
    text = FROM.replace("command", 'kind = "service"\nhealth = "/"\ncommand')
    with pytest.raises(InputError, match=r"stage train\.0 wants the secret HF_TOKEN") as caught:
        await deploys_of(daemon.daemon.service).plan(Wanted(Submission(pipeline=text)), ANA)
    assert caught.value.remedy.endswith(
        'or for hostler deploy, which takes no value from a shell, write secrets = ["HF_TOKEN"] '
        "instead, and keep it: hostler secret set HF_TOKEN"
    )
    one = stage("a", secrets=("B",))
    with pytest.raises(InputError) as caught:  # what a rollback says: it has no --secret
        await secrets_of(daemon).check(ANA.uid, {}, [one], call=None)
    assert caught.value.remedy == "set it: hostler secret set B"


async def test_what_nobody_takes_or_nobody_could_use_is_refused(daemon: SimDaemon) -> None:
    for own, told in (
        ({"HF_TOKEN": TOKEN, "OTHER": OWN}, "no stage takes the secret OTHER"),
        ({"HF_TOKEN": Secret("")}, "the value is empty"),
        ({"HF_TOKEN": Secret("sesame\0x")}, "NUL"),
        ({"HF_TOKEN": Secret("sesame" * 9000)}, "more than 16,384"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            await submit(daemon, PIPELINE, **own)
        assert "sesame" not in str(caught.value)
    with pytest.raises(InputError, match="cannot name a secret"):
        await secrets_of(daemon).put(ANA, "LD_PRELOAD", TOKEN)
    many = [f"N{number}" for number in range(5)]
    text = PIPELINE.replace('["HF_TOKEN"]', json.dumps(many))
    with pytest.raises(InputError, match="stage train: its secrets have 80,000 bytes together"):
        await submit(daemon, text, **dict.fromkeys(many, Secret("x" * 16_000)))


async def test_a_person_has_room_for_so_many(daemon: SimDaemon) -> None:
    store = SecretStore(daemon.state)
    await secrets_of(daemon).put(ANA, "N0", TOKEN)
    one = store.person(1000)["N0"]
    store._write_person(1000, {f"N{number}": one for number in range(MAX_KEPT)})
    with pytest.raises(ConflictError, match=f"you have {MAX_KEPT} secrets, which is"):
        await secrets_of(daemon).put(ANA, "ONE_MORE", TOKEN)
    await secrets_of(daemon).put(ANA, "N3", NEWER)


async def test_they_are_listed_with_who_uses_them_and_removed(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    for name in ("B", "A"):
        await secrets.put(ANA, name, TOKEN)
    mine = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1001)
    own = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    await secrets.confirm(own, {"A": OWN})
    only = stage("a", gpus=99, secrets=("A",), from_submitter=("A",))
    await daemon.submit(only, uid=1000)
    found = (await secrets.names(ANA)).secrets
    assert [(each.name, each.used_by) for each in found] == [("A", (mine,)), ("B", ())]
    assert all(each.set_at > 0 for each in found)
    assert (await secrets.names(BO)).secrets == ()
    with pytest.raises(NotFoundError, match="you have set no secret 'A'"):
        await secrets.remove(BO, "A")
    await secrets.remove(ANA, "A")
    assert [each.name for each in (await secrets.names(ANA)).secrets] == ["B"]
    calls = [(e.call, e.arguments) for e in await daemon.daemon.context.store.audit()]
    assert calls == [
        ("secret-rm", {"secret": "A"}),
        ("secret-set", {"secret": "A"}),
        ("secret-set", {"secret": "B"}),
    ]


async def test_a_secret_that_is_gone_says_who_has_to_do_what(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    await secrets.put(ANA, "HF_TOKEN", TOKEN)
    first = stage("a", env=sim("seconds=0.05"))
    later = stage("b", needs=("a",), secrets=("HF_TOKEN",))
    await secrets.remove(ANA, "HF_TOKEN")
    run_id = await daemon.submit(first, later, uid=1000, owner="ana")
    run = await daemon.finished(run_id)
    assert run.outcome is Outcome.FAILED
    failed = next(attempt for attempt in run.attempts if attempt.stage == "b")
    assert failed.phase is Phase.FAILED
    assert failed.detail is not None
    assert failed.detail.startswith("the secret HF_TOKEN is missing: ana removed it")
    assert f"hostler secret set HF_TOKEN; then: hostler retry {run_id}" in failed.detail
    # Its host is as good as before, and all that it held there is free.
    assert daemon.daemon.context.health.ailing == {}


async def test_a_run_that_has_ended_is_forgotten_and_tried_again_with_new_values(
    daemon: SimDaemon,
) -> None:
    service = daemon.daemon.service
    run = await submit(daemon, FROM.replace('"true"', '["false"]'), HF_TOKEN=OWN)
    assert secrets_of(daemon).masked_values(run.run_id) == (OWN.reveal(),)
    await service.cancel(run.run_id, ANA)
    await daemon.finished(run.run_id)
    await daemon.until(
        lambda: not list((daemon.state / "secrets/runs").iterdir()), "its values stay"
    )
    assert secrets_of(daemon).masked_values(run.run_id) == ()
    with pytest.raises(InputError, match="which was not given with it") as caught:
        await service.retry(run.run_id, ANA)
    assert f"hostler retry {run.run_id} --secret HF_TOKEN" in caught.value.remedy
    with pytest.raises(InputError) as caught:
        await service.rerun(run.run_id, ANA, None)
    assert f"hostler rerun {run.run_id} --secret HF_TOKEN" in caught.value.remedy
    again = await service.retry(run.run_id, ANA, Change(secrets={"HF_TOKEN": NEWER}))
    given = await secrets_of(daemon).of_attempt(again, again.stages[0])
    assert given == (GivenSecret("HF_TOKEN", NEWER),)
    other = await service.rerun(run.run_id, ANA, None, None, {"HF_TOKEN": TOKEN})
    assert secrets_of(daemon).masked_values(other.run_id) == (TOKEN.reveal(),)


async def test_the_next_daemon_knows_all_of_it(daemon: SimDaemon) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    run_id = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    run = await daemon.run(run_id)
    await secrets_of(daemon).of_attempt(run, run.stages[0])
    own = await submit(daemon, FROM.replace('"true"', '"true"\nresources.gpus = 9'), HF_TOKEN=OWN)
    await daemon.kill()
    await daemon.begin()
    secrets = secrets_of(daemon)
    assert secrets.masked_values(run_id) == (TOKEN.reveal(),)
    assert secrets.masked_values(own.run_id) == (OWN.reveal(),)
    again = await secrets.of_attempt(own, own.stages[0])
    assert again == (GivenSecret("HF_TOKEN", OWN),)


async def test_what_a_submission_left_that_was_cut_short_goes(daemon: SimDaemon) -> None:
    secrets, store = secrets_of(daemon), SecretStore(daemon.state)
    await secrets.keep_own("rgone", {"A": OWN})
    there = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    await secrets.keep_own(there, {"A": OWN})
    over = await daemon.submit(stage("a", env=sim("seconds=0.05")), uid=1000)
    await daemon.finished(over)
    store.write_run(over, RunSecrets({"A": OWN}))
    store.write_run("rlost", RunSecrets({"A": TOKEN}))
    await daemon.kill()
    await daemon.begin()
    # A run that the database does not know may be found again on a host: its values stay a while.
    assert sorted(store.runs()) == sorted([there, "rlost"])
    assert store.begun_runs() == []
    assert secrets_of(daemon).masked_values(there) == (OWN.reveal(),)
    assert secrets_of(daemon).masked_values("rlost") == (TOKEN.reveal(),)


async def test_what_cannot_be_read_stops_that_run_alone_and_says_why(daemon: SimDaemon) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    run_id = await daemon.submit(stage("a", secrets=("A",)), stage("b", gpus=99), uid=1000)
    other = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    for each in (run_id, other):
        SecretStore(daemon.state).write_run(each, RunSecrets({"A": OWN}))
    await daemon.kill()
    path = daemon.state / "secrets/runs" / run_id
    whole = path.read_bytes()
    path.write_bytes(b"torn")
    await daemon.begin()
    secrets = secrets_of(daemon)
    with pytest.raises(StateError, match="cannot be opened"):
        secrets.masked_values(run_id)
    assert secrets.masked_values(other) == (OWN.reveal(),)
    run = await daemon.run(run_id)
    with pytest.raises(StateError, match="cannot be opened"):
        await secrets.of_attempt(run, run.stages[0])
    path.write_bytes(whole)
    assert secrets.masked_values(run_id) == (OWN.reveal(),)
    assert await secrets.of_attempt(run, run.stages[0]) == (GivenSecret("A", OWN),)


async def test_a_start_waits_for_the_key_and_goes_on_when_it_is_back(daemon: SimDaemon) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    await daemon.kill()
    key = daemon.state / "secrets/key"
    key.rename(daemon.state / "aside")
    await daemon.begin()
    quick = stage("a", secrets=("A",), env=sim("seconds=0.05"))
    run_id = await daemon.submit(quick, uid=1000)
    held_up = daemon.daemon.context.held_up
    await daemon.until(lambda: bool(held_up), "it is not told why it waits")
    assert "the key of the secrets" in next(iter(held_up.values()))
    (daemon.state / "aside").rename(key)
    assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_where_the_values_of_what_runs_are_lost_nothing_passes_for_masked(
    daemon: SimDaemon,
) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    long = stage("a", secrets=("A",), env=sim("seconds=600"))
    run_id = await daemon.submit(long, uid=1000)
    await daemon.attempt(run_id, lambda attempt: attempt.phase is Phase.RUNNING)
    assert secrets_of(daemon).masked_values(run_id) == (TOKEN.reveal(),)
    await daemon.kill()
    (daemon.state / "secrets/runs" / run_id).unlink()  # as after a restore without secrets
    await daemon.begin()
    with pytest.raises(StateError, match="the values of the secrets of run"):
        secrets_of(daemon).masked_values(run_id)
    plain = await daemon.submit(stage("b", gpus=99), uid=1000)
    assert secrets_of(daemon).masked_values(plain) == ()
    await daemon.cancel(run_id)


async def test_a_damaged_file_that_is_moved_away_leaves_the_values_lost(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    await secrets.put(ANA, "A", TOKEN)
    long = stage("a", secrets=("A",), env=sim("seconds=600"))
    later = stage("b", needs=("a",), secrets=("A",))
    run_id = await daemon.submit(long, later, uid=1000)
    await daemon.attempt(run_id, lambda attempt: attempt.phase is Phase.RUNNING)
    await daemon.kill()
    path = daemon.state / "secrets/runs" / run_id
    path.write_bytes(b"torn")
    await daemon.begin()
    path.rename(daemon.state / "aside")  # as the error says
    secrets = secrets_of(daemon)
    for _ in range(2):
        assert secrets.known_values(run_id) is None  # nothing of its log is stored
        # Nor does what the next stage gets pass for all that may be printed.
        await secrets.put(ANA, "A", NEWER)
        run = await daemon.run(run_id)
        with pytest.raises(StateError, match="the values of the secrets of run"):
            await secrets.of_attempt(run, run.stages[1])
    await daemon.cancel(run_id)


async def test_where_nobody_knows_what_is_kept_only_runs_with_secrets_wait(
    daemon: SimDaemon,
) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    with_one = await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000)
    plain = await daemon.submit(stage("a", gpus=99), uid=1000)
    await daemon.kill()
    (daemon.state / "secrets/runs").write_text("no folder")
    await daemon.begin()
    with pytest.raises(StateError):
        secrets_of(daemon).masked_values(with_one)
    assert secrets_of(daemon).masked_values(plain) == ()


async def test_two_sets_at_once_and_one_while_an_attempt_starts(daemon: SimDaemon) -> None:
    secrets = secrets_of(daemon)
    run = await daemon.run(await daemon.submit(stage("a", gpus=99, secrets=("A",)), uid=1000))
    await secrets.put(ANA, "A", TOKEN)
    names = [f"N{number}" for number in range(20)]
    given = await asyncio.gather(
        *(secrets.put(ANA, name, Secret(f"value of {name}")) for name in names),
        *(secrets.of_attempt(run, run.stages[0]) for _ in range(5)),
        secrets.put(ANA, "A", NEWER),
        *(secrets.of_attempt(run, run.stages[0]) for _ in range(5)),
    )
    handed = {one.value for found in given if found for one in found}
    assert handed <= {TOKEN, NEWER}
    assert {value.reveal() for value in handed} <= set(secrets.masked_values(run.run_id))
    assert set(SecretStore(daemon.state).run(run.run_id).given) == handed
    assert len((await secrets.names(ANA)).secrets) == 21
    assert await secrets.of_attempt(run, run.stages[0]) == (GivenSecret("A", NEWER),)


async def test_a_key_tells_submissions_apart_without_their_values(daemon: SimDaemon) -> None:
    service = daemon.daemon.service
    first = Submission(pipeline=FROM, secrets={"HF_TOKEN": OWN})
    run = await service.submit(first, ANA, "k")
    assert (await service.submit(first, ANA, "k")).run_id == run.run_id
    other = Submission(pipeline=FROM, secrets={"HF_TOKEN": TOKEN})
    with pytest.raises(ConflictError, match="another submission"):
        await service.submit(other, ANA, "k")
    both = await asyncio.gather(*(service.submit(first, ANA, "k2") for _ in range(4)))
    assert len({each.run_id for each in both}) == 1
    assert SecretStore(daemon.state).begun_runs() == []
    assert sorted(SecretStore(daemon.state).runs()) == sorted({run.run_id, both[0].run_id})


async def test_no_value_is_in_the_database(daemon: SimDaemon) -> None:
    await secrets_of(daemon).put(ANA, "A", TOKEN)
    quick = FROM.replace("env = {", 'env = { SIM = "seconds=0.05",')
    run = await submit(daemon, quick, HF_TOKEN=OWN)
    await secrets_of(daemon).of_attempt(run, run.stages[0])
    await daemon.finished(run.run_id)
    await daemon.stop()
    for name in ("hostler.db", "metrics.db"):
        with sqlite3.connect(daemon.state / name) as connection:
            dump = "\n".join(connection.iterdump())
        connection.close()
        for value in (TOKEN, OWN):
            assert value.reveal() not in dump
    for path in daemon.state.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert TOKEN.reveal().encode() not in data, path
            assert OWN.reveal().encode() not in data, path
