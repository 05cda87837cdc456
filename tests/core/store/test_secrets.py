"""Secrets at rest: sealed, this user's alone, whole or absent; what cannot be opened says so."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, StateError
from hostler.base.secret import Secret
from hostler.store.secret_backup import check_key, packed, put_back, unpacked
from hostler.store.secrets import KeptSecret, RunSecrets, SecretStore

TOKEN, OTHER = Secret("hf_sesame_open"), Secret("s3-other-value")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_a_person_sets_is_there_for_the_next_daemon_and_for_nobody_else(state: Path) -> None:
    SecretStore(state).put(1000, "HF_TOKEN", TOKEN, 5.0)
    SecretStore(state).put(1000, "B", OTHER, 6.0)
    assert SecretStore(state).person(1000) == {
        "HF_TOKEN": KeptSecret(TOKEN, 5.0),
        "B": KeptSecret(OTHER, 6.0),
    }
    assert SecretStore(state).person(1001) == {}
    store = SecretStore(state)
    store.put(1000, "HF_TOKEN", OTHER, 7.0)
    assert store.remove(1000, "B")
    assert not store.remove(1000, "B")
    assert SecretStore(state).person(1000) == {"HF_TOKEN": KeptSecret(OTHER, 7.0)}


def test_nothing_lies_there_in_the_clear_and_nobody_else_may_look(state: Path) -> None:
    store = SecretStore(state)
    store.put(1000, "HF_TOKEN", TOKEN, 5.0)
    store.begin_run("r1", {"A": OTHER})
    store.write_run("r2", RunSecrets({"A": OTHER}, (TOKEN,)))
    found = files_below(state)
    assert sorted(found) == [
        "secrets/key", "secrets/people/1000", "secrets/runs/r1.new", "secrets/runs/r2",
    ]  # fmt: skip
    for data in found.values():
        for value in (TOKEN, OTHER):
            assert value.reveal().encode() not in data
        assert b"HF_TOKEN" not in data
    for path in (state / "secrets").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((state / "secrets").stat().st_mode) == 0o700


def test_asking_makes_nothing(state: Path) -> None:
    store = SecretStore(state)
    assert (store.person(1), store.run("r1"), store.runs(), store.begun_runs()) == (
        {}, RunSecrets(), {}, [],
    )  # fmt: skip
    store.drop_run("r1")
    store.abandon_run("r1")
    assert list(state.iterdir()) == []


def test_a_run_is_kept_from_before_its_row_to_its_end(state: Path) -> None:
    store = SecretStore(state)
    store.begin_run("r1", {"A": TOKEN})
    assert (store.begun_runs(), store.runs()) == (["r1"], {})
    store.confirm_run("r1")
    store.confirm_run("r1")
    assert (store.begun_runs(), list(store.runs())) == ([], ["r1"])
    assert SecretStore(state).run("r1") == RunSecrets({"A": TOKEN})
    store.write_run("r1", RunSecrets({"A": TOKEN}, (OTHER,)))
    assert SecretStore(state).run("r1") == RunSecrets({"A": TOKEN}, (OTHER,))
    store.drop_run("r1")
    assert (store.run("r1"), store.runs()) == (RunSecrets(), {})


def test_an_id_that_is_taken_costs_the_other_run_nothing(state: Path) -> None:
    store = SecretStore(state)
    store.write_run("r1", RunSecrets({"A": TOKEN}))
    store.begin_run("r1", {"A": OTHER})
    store.abandon_run("r1")
    assert store.run("r1") == RunSecrets({"A": TOKEN})
    # What was given since goes before what was begun, where a start stood between them.
    store.begin_run("r1", {"A": OTHER})
    store.confirm_run("r1")
    assert store.run("r1") == RunSecrets({"A": TOKEN})
    assert store.begun_runs() == []


@pytest.mark.parametrize("run_id", ["../key", "", "r1/../../x", "R1", "r" * 41, ".r1"])
def test_a_run_is_a_plain_name(state: Path, run_id: str) -> None:
    store = SecretStore(state)
    for act in (store.run, store.drop_run, store.confirm_run, store.abandon_run):
        with pytest.raises(StateError, match="is no id of a run"):
            act(run_id)


@pytest.mark.parametrize("torn", [b"", b"gAAAA", b"\xff\xfe", b"x" * 2000])
def test_a_torn_file_is_one_clear_error_and_stays(state: Path, torn: bytes) -> None:
    store = SecretStore(state)
    store.put(1000, "A", TOKEN, 5.0)
    store.write_run("r1", RunSecrets({"A": TOKEN}))
    for name in ("people/1000", "runs/r1"):
        (state / "secrets" / name).write_bytes(torn)
    for ask in (lambda: SecretStore(state).person(1000), lambda: SecretStore(state).run("r1")):
        with pytest.raises(StateError, match="cannot be opened: it is damaged") as caught:
            ask()
        assert "hostler secret set" in caught.value.remedy
        assert caught.value.__cause__ is None
    with pytest.raises(StateError, match="cannot be opened"):
        SecretStore(state).put(1000, "B", OTHER, 6.0)
    assert (state / "secrets/people/1000").read_bytes() == torn


def test_a_sealed_file_of_another_form_is_the_same_error(state: Path) -> None:
    store = SecretStore(state)
    store.put(1000, "A", TOKEN, 5.0)
    sealed = (state / "secrets/people/1000").read_bytes()
    (state / "secrets/runs").mkdir(mode=0o700)
    (state / "secrets/runs/r1").write_bytes(sealed)
    (state / "secrets/runs/r1").chmod(0o600)
    with pytest.raises(StateError, match="cannot be opened"):
        store.run("r1")
    store.write_run("r2", RunSecrets({"A": TOKEN}))
    (state / "secrets/people/1000").write_bytes((state / "secrets/runs/r2").read_bytes())
    with pytest.raises(StateError, match="cannot be opened"):
        store.person(1000)


def test_another_key_opens_nothing_and_a_lost_one_is_not_made_anew(state: Path) -> None:
    SecretStore(state).put(1000, "A", TOKEN, 5.0)
    key = state / "secrets/key"
    kept = key.read_bytes()
    other = state.parent / "other"
    other.mkdir(mode=0o700)
    SecretStore(other).put(1000, "A", TOKEN, 5.0)
    key.write_bytes((other / "secrets/key").read_bytes())
    with pytest.raises(StateError, match="sealed with another key"):
        SecretStore(state).person(1000)
    key.write_bytes(b"nonsense\n")
    with pytest.raises(StateError, match="is no key"):
        SecretStore(state).person(1000)
    key.unlink()
    for act in (
        lambda: SecretStore(state).person(1000),
        lambda: SecretStore(state).put(7, "A", TOKEN, 5.0),
        lambda: SecretStore(state).begin_run("r1", {"A": TOKEN}),
    ):
        with pytest.raises(StateError, match="is gone") as caught:
            act()
        assert f"mv {state}/secrets {state}/secrets.old" in caught.value.remedy
    assert not key.exists()
    key.write_bytes(kept)
    key.chmod(0o600)
    assert SecretStore(state).person(1000)["A"].value == TOKEN


@pytest.mark.parametrize("name", ["key", "people/1000", "runs/r1"])
def test_what_others_could_have_read_or_put_there_is_not_used(state: Path, name: str) -> None:
    store = SecretStore(state)
    store.put(1000, "A", TOKEN, 5.0)
    store.write_run("r1", RunSecrets({"A": TOKEN}))
    path = state / "secrets" / name

    def ask() -> object:
        fresh = SecretStore(state)
        return fresh.run("r1") if name.startswith("runs") else fresh.person(1000)

    path.chmod(0o640)
    with pytest.raises(StateError, match="is not a file of this user alone"):
        ask()
    path.chmod(0o600)
    aside = state / "aside"
    path.rename(aside)
    path.symlink_to(aside)
    with pytest.raises(StateError):
        ask()
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(StateError, match="is not a file of this user alone"):
        ask()


def test_a_link_in_the_place_of_a_folder_is_not_followed(state: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    (state / "secrets").mkdir(mode=0o700)
    people = state / "secrets/people"
    people.symlink_to(elsewhere)
    if os.geteuid() == 0:
        os.lchown(people, 65534, 65534)
    (state / "secrets").chmod(0o777)  # where somebody else could have put it
    with pytest.raises(StateError):
        SecretStore(state).put(1000, "A", TOKEN, 5.0)
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_the_way_is_told(state: Path) -> None:
    (state / "secrets").write_text("")
    with pytest.raises(StateError, match="secrets"):
        SecretStore(state).put(1000, "A", TOKEN, 5.0)


def test_many_at_once_lose_nothing_and_share_one_key(state: Path) -> None:
    store = SecretStore(state)

    def work(number: int) -> None:
        for each in range(5):
            store.put(1000, f"N{number}_{each}", Secret(f"value {number} {each}"), 5.0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = SecretStore(state).person(1000)
    assert len(found) == 40
    assert found["N7_4"].value == Secret("value 7 4")


def test_what_a_write_that_was_killed_left_is_no_run(state: Path) -> None:
    store = SecretStore(state)
    store.write_run("r1", RunSecrets({"A": TOKEN}))
    (state / "secrets/runs/.r2.123.new").write_bytes(b"half")
    (state / "secrets/runs/r3").mkdir()
    assert (list(store.runs()), store.begun_runs()) == (["r1"], [])


def test_a_fingerprint_tells_values_apart_and_needs_the_key(state: Path, tmp_path: Path) -> None:
    store = SecretStore(state)
    assert store.fingerprint(TOKEN) == SecretStore(state).fingerprint(TOKEN)
    assert store.fingerprint(TOKEN) != store.fingerprint(OTHER)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    assert SecretStore(other).fingerprint(TOKEN) != store.fingerprint(TOKEN)


def test_a_backup_has_all_of_it_and_puts_back_what_is_not_there(
    state: Path, tmp_path: Path
) -> None:
    store = SecretStore(state)
    store.put(1000, "A", TOKEN, 5.0)
    store.write_run("r1", RunSecrets({"A": TOKEN}))
    store.begin_run("r2", {"A": TOKEN})
    data = packed(state)
    assert TOKEN.reveal().encode() not in data
    files = unpacked(data)
    new = tmp_path / "new"
    new.mkdir(mode=0o700)
    check_key(files, new)
    put_back(files, new)
    assert files_below(new) == files_below(state)
    assert all(p.stat().st_mode & 0o077 == 0 for p in (new / "secrets").rglob("*"))
    store.put(1000, "A", OTHER, 6.0)
    check_key(files, state)
    put_back(files, state)
    assert store.person(1000)["A"].value == OTHER
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    SecretStore(foreign).put(1, "A", TOKEN, 5.0)
    with pytest.raises(ConflictError, match="another key"):
        check_key(files, foreign)
    assert packed(tmp_path) == b"{}"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"\xff", b'{"../id": ""}', b'{"people/../../id": ""}', b'{"people/x": ""}',
        b'{"runs/.r1": ""}', b'{"key": 1}', b'{"key": "%"}', b'{"people/1\\n": ""}',
    ],
)  # fmt: skip
def test_a_hostile_backup_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        unpacked(data)


def test_a_key_that_was_removed_meanwhile_comes_back_with_the_next_value(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    store.put(1000, "A", Secret("sesame-1"), 1.0)
    key = tmp_path / "secrets/key"
    before = key.read_bytes()
    key.unlink()
    store.put(1000, "B", Secret("sesame-2"), 2.0)
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (before, 0o600)
    assert set(SecretStore(tmp_path).person(1000)) == {"A", "B"}
