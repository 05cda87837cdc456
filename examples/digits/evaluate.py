"""The gate's numbers: accuracy on images that neither training nor selection has seen."""

import json
from pathlib import Path

from digits import accuracy, load, report

model = json.loads(Path("inputs/model/model.json").read_text())
found = accuracy(model["weights"], load("test"))
print(f"lr {model['lr']}: accuracy {found:.4f} on unseen images")
report(accuracy=found)
