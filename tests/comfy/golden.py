"""What saved workflows rely on, of every node: names, types, order, defaults. `golden.json` is the promise.

`python -m tests.comfy.golden URL` writes it anew from a running ComfyUI; a change breaks users' workflows.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden.json"
_KEPT = ("default", "options", "min", "max", "step", "lazy", "forceInput")


def reduced(infos: dict[str, Any]) -> dict[str, Any]:
    """Of ComfyUI's /object_info, what may not change."""
    return {name: _reduced(info) for name, info in sorted(infos.items())}


def _reduced(info: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        kind: [
            [name, kind_of if isinstance(kind_of, str) else "COMBO", _kept(name, told)]
            for name, (kind_of, told) in info["input"].get(kind, {}).items()
        ]
        for kind in ("required", "optional")
    }
    outputs = [list(pair) for pair in zip(info["output"], info["output_name"], strict=True)]
    return {**inputs, "outputs": outputs, "output_node": info["output_node"], "category": info["category"]}


def _kept(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """What was told of an input; which bundles there are is the machine's."""
    kept = {key: told[key] for key in _KEPT if key in told and told[key] is not None}
    return {key: value for key, value in kept.items() if (name, key) != ("bundle", "options")}


if __name__ == "__main__":
    with urllib.request.urlopen(f"{sys.argv[1]}/object_info") as answer:
        found = json.loads(answer.read())
    ours = {name: info for name, info in found.items() if name.startswith("Castsheet")}
    GOLDEN.write_text(json.dumps(reduced(ours), indent=1) + "\n")
