"""The pipeline files that simulated users of the demo submit; `traffic` decides when.

The variable SIM says what the lab pretends of a stage (`sim.behaviour`); all else is ordinary.
"""

from __future__ import annotations

FINETUNE = """
name = "finetune"
[params]
lr = 0.0003
steps = 90
accuracy = 0.91
target = 0.85
[defaults]
code = "none"
image = "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime"
[stages.tokenize]
command = "python tokenize_corpus.py --out tokens"
outputs = { tokens = "tokens" }
env = { SIM = "seconds=12 lines=24" }
resources = { cpus = 4, ram = "16GiB" }
[stages.train]
command = "python train.py --lr {params.lr} --steps {params.steps}"
inputs = { tokens = "tokenize.tokens" }
outputs = { model = "model" }
env = { SIM = "seconds={params.steps} lines=60 util=93 memory=0.82 metric.loss=4.2:0.62 \
metric.accuracy={params.accuracy}" }
resources = { gpus = 2, gpu_memory = "40GiB", cpus = 8, ram = "64GiB" }
[stages.validate]
kind = "gate"
command = "python evaluate.py"
inputs = { model = "train.model" }
env = { SIM = "seconds=15 lines=20 util=61 memory=0.4 metric.accuracy={params.accuracy}" }
pass = ["accuracy >= params.target"]
resources = { gpus = 1, gpu_memory = "24GiB" }
[stages.publish]
needs = ["validate"]
command = "python publish.py"
inputs = { model = "train.model" }
env = { SIM = "seconds=5 write=report/card.md:4200 write=report/curves.svg:51000 \
write=model.onnx:182000" }
"""

SWEEP = """
name = "sweep"
[params]
steps = 60
[defaults]
code = "none"
[stages.train]
matrix = { lr = [0.001, 0.003, 0.01], seed = [1, 2] }
max_parallel = 4
command = "python train.py --lr {matrix.lr} --seed {matrix.seed}"
outputs = { model = "model" }
env = { SIM = "seconds={params.steps} lines=40 util=78 memory=0.55 \
metric.loss=2.3:0.4{matrix.seed} metric.accuracy=0.8{matrix.seed}" }
resources = { gpus = 1, gpu_memory = "20GiB" }
[stages.select]
command = "python select_best.py"
inputs = { models = "train.*.model" }
outputs = { best = "best" }
env = { SIM = "seconds=6" }
"""

SHARDS = """
name = "shards"
[params]
seconds = 14
[defaults]
code = "none"
[stages.split]
command = "python split.py --into 12"
outputs = { list = "list" }
env = { SIM = "seconds=6" }
[stages.clean]
matrix = { shard = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
command = "python clean.py --shard {matrix.shard}"
inputs = { list = "split.list" }
outputs = { shard = "out" }
env = { SIM = "seconds={params.seconds} lines=30" }
resources = { cpus = 2, ram = "4GiB" }
[stages.merge]
command = "python merge.py"
inputs = { shards = "clean.*.shard" }
outputs = { corpus = "corpus" }
env = { SIM = "seconds=8" }
"""

FLAKY = """
name = "distill"
[params]
temperature = 2.0
steps = 40
[defaults]
code = "none"
[stages.train]
command = "python distill.py --temperature {params.temperature}"
env = { SIM = "seconds={params.steps} lines=30 gpu_oom=1 util=97 memory=0.97 metric.loss=3.1:1.9 \
write=checkpoints/step-10.pt:96000 write=checkpoints/step-20.pt:96000" }
retries = 1
resources = { gpus = 1, gpu_memory = "24GiB" }
[stages.report]
needs = ["train"]
command = "python report.py"
env = { SIM = "seconds=4" }
"""

PRETRAIN = """
name = "pretrain"
title = "the big one"
[params]
steps = 120
[defaults]
code = "none"
[stages.train]
command = "torchrun --nproc-per-node 8 pretrain.py"
env = { SIM = "seconds={params.steps} lines=100 util=95 memory=0.9 metric.loss=9.1:2.4" }
resources = { gpus = 8, gpu_model = ["H100"] }
"""

NOTEBOOK = """
name = "notebook"
[defaults]
code = "none"
[stages.jupyter]
command = "jupyter lab --no-browser"
env = { SIM = "seconds=86400 lines=400 util=1 memory=0.35" }
resources = { gpus = 1 }
"""

CHAT = """
name = "chat"
[params]
model = "chat-7b"
max_len = 4096
ready = 20
says = ""
[defaults]
code = "none"
[stages.serve]
kind = "service"
replicas = 2
command = "python serve.py --model {params.model} --max-len {params.max_len}"
health = "/healthz"
startup = "1h"
drain = "10s"
env = { SIM = "seconds=1e6 lines=200000 ready={params.ready} util=68 memory=0.78 rate=8.5 \
latency=190 errors=0.002 {params.says}" }
resources = { gpus = 1, host = "GATEWAY", cpus = 4, ram = "16GiB" }
"""
"""The lab inserts the host of the gateway into the pipelines of services."""

EMBED = """
name = "embed"
[params]
batch = 32
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "python embed.py --batch {params.batch}"
health = "/healthz"
address = ":8101"
startup = "1h"
env = { SIM = "seconds=1e6 lines=200000 ready=5 rate=120 latency=9" }
resources = { host = "GATEWAY", cpus = 4, ram = "8GiB" }
"""

TTS = """
name = "tts"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "python speak.py --voices voices.onnx"
health = "/"
startup = "1h"
env = { SIM = "seconds=30 lines=6 ready=1e9 exit=1" }
resources = { gpus = 1, gpu_memory = "8GiB" }
"""
