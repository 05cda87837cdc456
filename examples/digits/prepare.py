"""Cut one shard out of the data set, scale its pixels to 0..1, and split it: 60 / 20 / 20 %."""

import argparse
import csv
import gzip
import json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--shard", type=int, required=True)
parser.add_argument("--shards", type=int, required=True)
args = parser.parse_args()

with gzip.open("data/digits.csv.gz", "rt", newline="") as file:
    rows = [
        row for number, row in enumerate(csv.reader(file)) if number % args.shards == args.shard
    ]

examples = [([int(pixel) / 16 for pixel in row[:64]], int(row[64])) for row in rows]
train, tune = len(examples) * 6 // 10, len(examples) * 8 // 10

out = Path("out")
out.mkdir(exist_ok=True)
parts = {"train": examples[:train], "tune": examples[train:tune], "test": examples[tune:]}
for name, part in parts.items():
    (out / f"{name}.json").write_text(json.dumps(part))
print(f"shard {args.shard}: " + ", ".join(f"{len(part)} {name}" for name, part in parts.items()))
