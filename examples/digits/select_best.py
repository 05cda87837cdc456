"""Keep the model that did best on the tuning images."""

import json
import shutil
from pathlib import Path

from digits import report

models = {path: json.loads(path.read_text()) for path in Path("inputs/models").glob("*/model.json")}
for path, model in sorted(models.items()):
    print(f"{path.parent.name}: lr {model['lr']}, accuracy {model['accuracy']:.4f}")
best = max(models, key=lambda path: models[path]["accuracy"])
Path("best").mkdir(exist_ok=True)
shutil.copy(best, "best/model.json")
print(f"best: lr {models[best]['lr']}")
report(lr=models[best]["lr"], accuracy=models[best]["accuracy"])
