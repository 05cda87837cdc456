"""A host that writes what it likes into its copies of runs, and a database that is lost."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import StateError
from hostler.daemon.copy_format import Signer, decode_notes, decode_spec, encode_note, encode_spec
from hostler.daemon.recover import restore
from hostler.decide.recovery import Note
from hostler.model.codec import to_json
from hostler.model.runs import Phase, Run
from hostler.store.copy_key import ensure_copy_key, read_copy_key
from tests.core.daemon.test_recover_on_sim import look_around, lose_database
from tests.support.daemons.simdaemon import FAST, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values import planning
from tests.support.values.planning import attempt, stage

pytestmark = pytest.mark.timeout(60)

STRANGER = secrets.token_bytes(32)


def unsign(records: dict[tuple[str, str], list[str]], run: Run) -> None:
    """As a version before signatures left it."""
    import base64
    import zlib

    for copy in records.values():
        value = {"run": to_json(replace(run, attempts=())), "pipeline_text": ""}
        copy[0] = base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()
        lines = [json.loads(line) for line in copy[1].splitlines()]
        for line in lines:
            line.pop("signature", None)
        copy[1] = "".join(json.dumps(line) + "\n" for line in lines)


async def lost(daemon: SimDaemon) -> None:
    await daemon.kill()
    lose_database(daemon.state)


async def running(daemon: SimDaemon, seconds: float = 30) -> str:
    run_id = await daemon.submit(stage("a", gpus=1, env=sim(f"seconds={seconds}")))
    await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
    return run_id


async def test_a_run_that_a_host_made_up_is_told_as_such(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        _good, evil = daemon.lab.hosts.values()
        run_id = await running(daemon)
        ours = daemon.daemon.context.daemon_id
        await lost(daemon)
        forged = planning.run("rforged", stage("nightly", command=("sh", "-c", "id >/tmp/owned")))
        evil.records[ours, "rforged"] = [encode_spec(forged, "", Signer(ours, STRANGER)), ""]
        told = await look_around(daemon)
        found = {rebuilt.run.run_id: rebuilt for rebuilt in told.recovery.runs}
        assert found[run_id].doubts == ()
        assert found["rforged"].doubts == (
            f"{evil.name}: its specification is not signed by this daemon's key",
        )


async def test_a_forged_specification_does_not_replace_a_signed_one(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await running(daemon)
        run = daemon.daemon.context.run_cache.run(run_id)
        host = run.attempts[0].host
        (evil,) = (h for h in daemon.lab.hosts.values() if h.name != host)
        ours = daemon.daemon.context.daemon_id
        await lost(daemon)
        forged = replace(run, stages=(stage("a", command=("id",)), stage("b")))
        evil.records[ours, run_id] = [encode_spec(forged, "", Signer(ours, STRANGER)), ""]
        told = await look_around(daemon)
        (found,) = told.recovery.runs
        assert found.doubts == ()
        assert found.run.stages == run.stages
        assert any(evil.name in said and "is not used" in said for said in told.problems)


async def test_what_a_host_adds_to_a_signed_run_is_told(tmp_path: Path) -> None:
    """A note that another host was given, or one of its own making, ends no stage unseen."""
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await running(daemon)
        run = daemon.daemon.context.run_cache.run(run_id)
        (host,) = (h for h in daemon.lab.hosts.values() if h.name == run.attempts[0].host)
        (evil,) = (h for h in daemon.lab.hosts.values() if h is not host)
        ours = daemon.daemon.context.daemon_id
        await lost(daemon)
        genuine = host.records[ours, run_id]
        evil.records[ours, run_id] = [genuine[0], genuine[1]]
        (found,) = (await look_around(daemon)).recovery.runs
        (doubt,) = found.doubts
        assert f"of its notes not signed for {evil.name} by this daemon's key" in doubt
        made_up = Note(attempt(run_id, "a", number=7, phase=Phase.SUCCEEDED, host=evil.name))
        evil.records[ours, run_id] = [
            genuine[0], encode_note(made_up, Signer(ours, STRANGER)) + "\n"
        ]  # fmt: skip
        (found,) = (await look_around(daemon)).recovery.runs
        assert len(found.doubts) == 1


async def test_a_run_that_has_ended_is_not_begun_again_by_a_copy_that_was_kept(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        kept = {key: list(copy) for key, copy in host.records.items()}
        assert [run for _, run in kept] == [run_id]
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.until(lambda: not host.records, "the copies stay after the end")
        await lost(daemon)
        host.records.update(kept)
        told = await look_around(daemon)
        assert told.recovery.runs == ()


async def test_copies_of_an_earlier_version_are_signed_at_the_next_contact(tmp_path: Path) -> None:
    """What the database knows is written anew; what only the host knows is not signed."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        run = daemon.daemon.context.run_cache.run(run_id)
        ours = daemon.daemon.context.daemon_id
        await daemon.kill()
        unsign(host.records, run)
        host.records[ours, "rforged"] = list(host.records[ours, run_id])
        lied = replace(run.attempts[0], phase=Phase.SUCCEEDED, number=9)
        lied = replace(lied, attempt_id=f"{run_id}-a-9")
        host.records[ours, run_id][1] += json.dumps(to_json(Note(lied))) + "\n"
        await daemon.begin()
        signer = Signer(ours, read_copy_key(tmp_path))

        def is_signed() -> bool:
            spec, lines = host.records[ours, run_id]
            notes = decode_notes(lines, run_id, host.name, signer)
            return decode_spec(spec, run_id, signer).is_signed and any(s for _, s, _ in notes)

        await daemon.until(is_signed, "the copy is not signed")
        spec, lines = host.records[ours, run_id]
        assert decode_spec(spec, run_id, signer).run.stages == run.stages
        signed = [
            n.attempt.attempt_id for n, s, _ in decode_notes(lines, run_id, host.name, signer) if s
        ]
        assert signed == [f"{run_id}-a-1"]
        assert not decode_spec(spec, run_id, Signer(ours, STRANGER)).is_signed
        unknown = host.records[ours, "rforged"][0]
        with pytest.raises(ValueError, match="it is of run"):
            decode_spec(unknown, "rforged", signer)


async def test_a_signed_copy_is_not_written_again_by_each_daemon(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        before = {key: list(copy) for key, copy in host.records.items()}
        await daemon.kill()
        await daemon.begin()
        copies = daemon.daemon.applier.copies
        await daemon.until(lambda: host.name in copies._checked and not copies._checks, "no check")
        assert host.records == before
        assert [run for _, run in before] == [run_id]


async def test_a_copy_that_is_gone_from_its_host_is_written_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        await daemon.kill()
        host.records.clear()
        await daemon.begin()
        await daemon.until(lambda: [run for _, run in host.records] == [run_id], "no copy")
        await daemon.until(lambda: all(lines for _, lines in host.records.values()), "no note")


async def test_without_the_key_nothing_is_taken_for_signed_and_a_person_may_take_it(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        await lost(daemon)
        (tmp_path / "copies.key").unlink()
        told = await look_around(daemon)
        (found,) = told.recovery.runs
        assert "not signed" in found.doubts[0]
        assert not (tmp_path / "copies.key").exists()
        assert await restore(tmp_path, [found], "ana") == {}
        await daemon.begin()
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        signer = Signer(daemon.daemon.context.daemon_id, read_copy_key(tmp_path))
        (host,) = daemon.lab.hosts.values()
        await daemon.until(
            lambda: all(
                decode_spec(c[0], r, signer).is_signed for (_, r), c in host.records.items()
            ),
            "the new key signs nothing",
        )


async def test_a_run_that_contradicts_another_keeps_no_other_from_being_recovered(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        await lost(daemon)
        (found,) = (await look_around(daemon)).recovery.runs
        held = replace(found.run.attempts[0], run_id="rother", attempt_id="rother-a-1")
        other = replace(found, run=replace(found.run, run_id="rother", attempts=(held,)))
        failed = await restore(tmp_path, [found, other], "ana")
        assert list(failed) == ["rother"]
        await daemon.begin()
        assert daemon.daemon.context.run_cache.find(run_id) is not None


def test_a_key_that_somebody_else_could_have_written_is_refused(tmp_path: Path) -> None:
    assert read_copy_key(tmp_path) is None
    key = ensure_copy_key(tmp_path)
    path = tmp_path / "copies.key"
    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
    assert ensure_copy_key(tmp_path) == key
    for mode in (0o640, 0o602):
        path.chmod(mode)
        with pytest.raises(StateError, match="not a key of this user alone"):
            ensure_copy_key(tmp_path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(StateError, match="not a key"):
        read_copy_key(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError):
        read_copy_key(tmp_path)


async def test_a_host_cannot_fill_the_memory_with_copies_that_are_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hostler.daemon import copy_reading

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        ours = daemon.daemon.context.daemon_id
        await lost(daemon)
        forger = Signer(ours, STRANGER)
        for number in range(50):
            made = planning.run(f"a{number}", stage("x", env={"N": "n" * 20_000}))
            host.records[ours, made.run_id] = [encode_spec(made, "", forger), ""]
        size = decode_spec(host.records[ours, "a0"][0], "a0", forger).size
        budget = copy_reading._Budget(10 * size)
        monkeypatch.setattr(copy_reading, "_Budget", lambda: budget)
        told = await look_around(daemon)
        assert len(told.recovery.runs) < 20
        assert any("too many copies that are not signed" in said for said in told.problems)
        assert [r.run.run_id for r in told.recovery.runs if not r.doubts] == [run_id]


async def test_a_copy_without_an_end_does_not_hold_up_the_end_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hostler.sim import agent

    short = replace(FAST, notes_timeout=0.2)
    async with SimDaemon(small_lab(1), tmp_path, timings=short) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await running(daemon)
        await daemon.kill()
        read = agent._HANDLERS["run.read"]

        def endless(host: Any, asked: Any) -> dict[str, Any]:
            told = read(host, {**asked, "offset": 0})
            return {**told, "lines": "x\n", "next": asked["offset"] + 2}

        monkeypatch.setitem(agent._HANDLERS, "run.read", endless)
        await daemon.begin()
        await daemon.until(lambda: bool(daemon.daemon.applier.copies._under_way), "no check")
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.until(lambda: not host.records, "the copies stay after the end")
