"""Run in a process of its own, in which rankwise cannot be imported: opens checkpoints by transformers."""

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Absent(MetaPathFinder):
    """Stands for an environment in which the package is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "rankwise":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def facts(folder, stock):
    """What comes of one folder without trust, with it, and of its stock form."""
    ids = torch.tensor(json.loads((folder.parent / "ids.json").read_text()))
    found = {}
    for name, options in {"plain": {}, "no trust": {"trust_remote_code": False}}.items():
        try:
            AutoModelForCausalLM.from_pretrained(folder, **options)
        except ValueError as error:
            found[name] = str(error)
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        found["trusted"] = model(ids).logits.flatten().tolist()
        model = AutoModelForCausalLM.from_pretrained(stock)
        found["stock class"] = type(model).__name__
        found["stock"] = model(ids).logits.flatten().tolist()
    return found


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent())
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    for place in sys.argv[2:]:
        written = Path(sys.argv[1]) / Path(place).parents[2].name
        result = facts(Path(place), written / "stock")
        (written / "plain.json").write_text(json.dumps(result))
