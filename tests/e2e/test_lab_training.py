"""A training as people have it, on real hosts: data through a mount at another path, a conda
environment by name, a token, a warning before the time limit, and a requeue that goes on from the
checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, stage

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

TOKEN = "hf_training-4711-sesame"
CONFIG = '[mounts.corpora]\npath = "/srv/corpora"\nmode = "rw"\n'
TRAIN = '''
"""A character model of pairs, fitted by gradient descent in plain Python."""
import json, math, os, pathlib, signal, sys, time

corpus = pathlib.Path("inputs/corpus/names.txt").read_text()
letters = sorted(set(corpus))
pairs = [(letters.index(a), letters.index(b)) for a, b in zip(corpus, corpus[1:])]
folder = pathlib.Path(os.environ["HOSTLER_CHECKPOINT"])
folder.mkdir(exist_ok=True)
file = folder / "model.json"
model = json.loads(file.read_text()) if file.exists() else {
    "step": 0, "warned": False, "weights": [[0.0] * len(letters) for _ in letters]}
first = model["step"]

def save():
    spare = folder / "model.new"
    spare.write_text(json.dumps(model))
    spare.replace(file)

def warned(*_):
    model["warned"] = True
    save()

signal.signal(signal.SIGUSR1, warned)
print("environment", os.environ["CONDA_DEFAULT_ENV"], "token", os.environ["HF_TOKEN"])
print("requeue", os.environ["HOSTLER_REQUEUE_COUNT"], "from step", first, flush=True)

def step():
    gradient = [[0.0] * len(letters) for _ in letters]
    loss = 0.0
    for a, b in pairs:
        powers = [math.exp(x) for x in model["weights"][a]]
        total = sum(powers)
        loss -= math.log(powers[b] / total)
        for letter, power in enumerate(powers):
            gradient[a][letter] += power / total - (letter == b)
    for row, slopes in zip(model["weights"], gradient):
        for letter, slope in enumerate(slopes):
            row[letter] -= 4.0 * slope / len(pairs)
    model["step"] += 1
    return loss / len(pairs)

while not (first and model["warned"] and model["step"] >= first + 20):
    loss = step()
    with open(os.environ["HOSTLER_METRICS"], "a") as metrics:
        metrics.write(json.dumps({"loss": loss, "step": model["step"]}) + "\\n")
    save()
    time.sleep(0.02)
os.makedirs("out", exist_ok=True)
pathlib.Path("out/model.json").write_text(json.dumps(model))
print("done at step", model["step"])
'''
PIPELINE = f"""
name = "gpt"
[stages.data]
image = "{BUSYBOX}"
shell = true
command = "mkdir -p out && tr A-Z a-z < /corpus/raw.txt > out/names.txt"
mounts = {{ "/corpus" = "corpora" }}
outputs = {{ text = "out/" }}
[stages.train]
conda = "nano"
command = ["python", "train.py"]
inputs = {{ corpus = "data.text" }}
secrets = ["HF_TOKEN"]
timeout = "6s"
warn = "USR1@3s"
checkpoint = "ckpt/"
on_timeout = "requeue"
grace = "1s"
resources = {{ gpus = 1 }}
outputs = {{ model = "out/" }}
"""


def lay_conda(host: Host, name: str) -> None:
    """An installation in the home of a login, which only `.bashrc` of its terminals names."""
    root = "/home/ana/software/miniforge"
    prefix = f"{root}/envs/{name}"
    hook = f"__conda_setup=\"$('{root}/bin/conda' 'shell.bash' 'hook' 2> /dev/null)\""
    host.exec(
        ["sh", "-c", f"mkdir -p {root}/conda-meta {root}/bin {prefix}/conda-meta {prefix}/bin && "
         f"ln -s /usr/bin/python3 {prefix}/bin/python && cat > ~/.bashrc"],
        user="ana", text=f'[ -z "$PS1" ] && return\n{hook}\n',
    )  # fmt: skip


@pytest.fixture
def desk(clean_lab: Lab, tmp_path: Path) -> Iterator[Desk]:
    """Ana, who has the environment on gpu2 alone, a corpus everywhere, and a token."""
    for host in clean_lab.hosts:
        raw = "printf 'Emma Olivia Ava Isabella Sophia Mia\\n' > /srv/corpora/raw.txt"
        host.exec(["sh", "-c", f"mkdir -p /srv/corpora && {raw} && chmod -R a+rX /srv/corpora"])
    lay_conda(clean_lab.host("gpu2"), "nano")
    with desk_folder() as folder:
        desk = Desk.at_lab(clean_lab, folder, more=CONFIG)
        (desk.work / "train.py").write_text(TRAIN)
        desk.start_daemon()
        said = desk.hostler("secret", "set", "HF_TOKEN", given=TOKEN.encode())
        assert said.code == 0, said
        yield desk
        desk.close()


def test_a_training_goes_on_over_its_time_limit(clean_lab: Lab, desk: Desk) -> None:
    run = desk.run(PIPELINE, timeout=150)
    run_id = run["run_id"]
    attempts = stage(run, "train")["attempts"]
    logs = [
        desk.ok("logs", f"{run_id}/train", "--attempt", str(each["number"])).out
        for each in attempts
    ]
    assert run["outcome"] == "succeeded", (run, logs)
    assert len(attempts) >= 2
    assert {each["cause"] for each in attempts[:-1]} == {"requeued"}
    assert {each["host"] for each in attempts} == {"gpu2"}, "the only host with the environment"
    masked = "*" * len(TOKEN)
    for number, log in enumerate(logs):
        assert f"environment nano token {masked}\nrequeue {number} from step" in log
    assert "requeue 0 from step 0\n" in logs[0]
    assert f"requeue {len(logs) - 1} from step 0\n" not in logs[-1], "it went on"
    assert any("USR1" in log for log in logs), "the log names the process that was warned"
    assert "done at step" in logs[-1]
    rows = list(Client(desk.state / SOCKET_NAME).metrics(run_id, "train"))
    losses = [row.value or 0.0 for row in rows if row.name == "loss"]
    assert losses[-1] < losses[0], "it learned"
    assert attempts[-1]["attempt_id"] in {row.attempt_id for row in rows}
    waited = desk.ok("events", "--run", run_id).out
    assert "requeued" in waited, waited
    assert clean_lab.referee_overlaps() == []
