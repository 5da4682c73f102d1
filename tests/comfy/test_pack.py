"""The folder for ComfyUI's custom_nodes: templates in two formats, help pages, what it needs installed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from castsheet import __version__
from castsheet.comfy import PACK
from castsheet.lint.graph import read_graph
from castsheet.lint.workflow import lint_workflow
from tests.comfy.golden import GOLDEN
from tools.comfy.pages import PAGES, page

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(path.stem for path in (PACK / "example_workflows").glob("*.json"))


def template(folder: str, name: str) -> dict:
    return json.loads((PACK / folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_both_formats_are_one_workflow(name):
    """Red: the editor's file and the API's differ in a node, a value or a wire."""
    drawn = {
        id: node
        for id, node in read_graph(template("example_workflows", name)).items()
        if node.kind != "MarkdownNote"
    }
    told = read_graph(template("api", name))
    assert drawn.keys() == told.keys()
    for id, node in told.items():
        assert (drawn[id].kind, {**drawn[id].inputs, **node.inputs}) == (node.kind, {**drawn[id].inputs})


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_what_lint_wants(name):
    """Red: a template of ours has a fault that our own checks name."""
    assert lint_workflow(template("api", name)) == lint_workflow(template("example_workflows", name)) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_fit_the_nodes(name):
    """Red: a template gives a node of ours an input that it does not have, or leaves one out."""
    promised = json.loads(GOLDEN.read_text())
    for node in read_graph(template("api", name)).values():
        if node.kind in promised:
            required, optional = (
                {one[0] for one in promised[node.kind][kind]} for kind in ("required", "optional")
            )
            assert required <= set(node.inputs) <= required | optional
    assert (PACK / "example_workflows" / f"{name}.jpg").stat().st_size < 60_000


def test_help_pages_are_fresh(nodes):
    """Red: a page differs from what its node says: run `python -m tools.comfy.pages`."""
    for node in nodes.values():
        schema = node.define_schema()
        written = (PAGES / schema.node_id / "en.md").read_text(encoding="utf-8")
        assert written == page(schema)
    assert len(list(PAGES.iterdir())) == len(nodes)


def test_what_to_install_is_said_once():
    """Red: the extra, the pack's requirements and its pyproject list different packages."""
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pack = tomllib.loads((PACK / "pyproject.toml").read_text())
    listed = (PACK / "requirements.txt").read_text().splitlines()
    assert root["project"]["optional-dependencies"]["comfy"] == pack["project"]["dependencies"] == listed
    assert pack["project"]["version"] == __version__
    assert not re.search("torch|diffusers|transformers", " ".join(listed))
