"""Train by stochastic gradient descent at one learning rate; report after each epoch."""

import argparse
import json
import random
from pathlib import Path

from digits import accuracy, load, report, scores, softmax

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--epochs", type=int, required=True)
args = parser.parse_args()

train, tune = load("train"), load("tune")
weights = [[0.0] * 65 for _ in range(10)]
order = random.Random(1)
for epoch in range(1, args.epochs + 1):
    order.shuffle(train)
    for pixels, digit in train:
        guess = softmax(scores(weights, pixels))
        for number, row in enumerate(weights):
            step = args.lr * ((number == digit) - guess[number])
            if abs(step) > 1e-6:
                row[:64] = [w + step * p for w, p in zip(row, pixels)]
                row[64] += step
    found = accuracy(weights, tune)
    print(f"epoch {epoch}: accuracy {found:.4f}")
    report(epoch=epoch, accuracy=found)

Path("model").mkdir(exist_ok=True)
model = {"lr": args.lr, "accuracy": found, "weights": weights}
Path("model/model.json").write_text(json.dumps(model))
