"""Help pages of the ComfyUI nodes: a few words from the folder `words`, then every input and output.

`python -m tools.comfy.pages` writes them. What a node says of itself is read over the tests' stand-in for
ComfyUI, so that pages and tooltips cannot differ.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WORDS = Path(__file__).parent / "words"
PAGES = ROOT / "src" / "castsheet" / "comfy" / "pack" / "web" / "docs"
STUB = ROOT / "tests" / "comfy" / "stub"


def page(schema: Any) -> str:
    """A node's page as Markdown."""
    words = (WORDS / f"{schema.node_id}.md").read_text(encoding="utf-8").strip()
    inputs = [_row(one.id, one.tooltip, _type(one), _default(one)) for one in schema.inputs]
    outputs = [_row(one.name, one.tooltip or _PLAIN[one.name], one.io_type) for one in schema.outputs]
    head = f"# {schema.display_name}\n\n{schema.description}\n\n{words}\n"
    tables = [("Inputs", "| input | type | default | |\n|---|---|---|---|", inputs)]
    tables.append(("Outputs", "| output | type | |\n|---|---|---|", outputs))
    return head + "".join(f"\n## {title}\n\n{top}\n" + "\n".join(rows) + "\n" for title, top, rows in tables)


_PLAIN = {
    "width": "Of the clip.",
    "height": "Of the clip.",
    "length": "Frames of the clip.",
    "fps": "Frames a second.",
    "positive": "For the next node.",
    "negative": "For the next node.",
    "latent": "For the next node.",
    "conditioning": "For samplers and guides.",
    "sheet": "For the next node.",
}


def _type(one: Any) -> str:
    options = one.told.get("options")
    return " / ".join(map(str, options)) if options else str(one.io_type)


def _default(one: Any) -> str:
    value = one.told.get("default")
    return "" if value in (None, "") else str(value)


def _row(name: str, text: str, *cells: str) -> str:
    return "| " + " | ".join([f"`{name}`", *cells, text]) + " |"


def schemas() -> list[Any]:
    """What every node says of itself."""
    sys.path.insert(0, str(STUB))
    try:
        from castsheet.comfy.extension import NODES

        return [node.define_schema() for node in NODES]
    finally:
        sys.path.remove(str(STUB))


def main() -> None:
    for schema in schemas():
        path = PAGES / schema.node_id / "en.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
