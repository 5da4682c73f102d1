"""V03 on ComfyUI workflows: does a sheet that was added as a guide leave before the decoder?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from castsheet.lint.findings import Fault, rule

# The beginnings of node types: tiled and looping variants carry on from them.
_GUIDES = ("LTXVAddGuide", "LTXAddVideoICLoRAGuide", "LTXVAddGuideMulti")
_CROP = "LTXVCropGuides"
_DECODERS = ("VAEDecode", "LTXVSpatioTemporalTiledVAEDecode", "LTXVTiledVAEDecode")

Graph = tuple[dict[str, str], dict[str, list[str]]]
"""Node types by id, and the ids of the nodes that each node is fed by."""


@rule("V03", "the sheet's latents are cut off before the decoder", "error")
def lint_workflow(graph: Mapping[str, Any]) -> Iterator[Fault]:
    """Latents of the reference that reach the decoder become frames: the clip ends in the sheet.

    The graph is a ComfyUI workflow, as saved by the editor or exported for its API. Followed are links only:
    from every decoder up to the nodes that add a guide. Group nodes and subgraphs are not seen through.
    """
    kinds, sources = _api_graph(graph) if "nodes" not in graph else _editor_graph(graph)
    for decoder in (id for id, kind in kinds.items() if kind.startswith(_DECODERS)):
        guide = _guide_above(decoder, kinds, sources)
        if guide is not None:
            yield Fault(
                f"node {decoder} ({kinds[decoder]}) decodes what node {guide} ({kinds[guide]}) added: "
                f"no {_CROP} lies between them",
                f"put {_CROP} between the sampler and the decoder",
            )


def _guide_above(start: str, kinds: Mapping[str, str], sources: Mapping[str, list[str]]) -> str | None:
    """The first node on the way up that adds a guide, ways through a cropping node left out."""
    waiting, seen = [start], {start}
    while waiting:
        for above in sources.get(waiting.pop(), []):
            if above in seen or kinds.get(above, "").startswith(_CROP):
                continue
            if kinds.get(above, "").startswith(_GUIDES):
                return above
            seen.add(above)
            waiting.append(above)
    return None


def _api_graph(graph: Mapping[str, Any]) -> Graph:
    nodes = {str(id): node for id, node in graph.items() if isinstance(node, Mapping)}
    kinds = {id: str(node.get("class_type", "")) for id, node in nodes.items()}
    sources = {
        id: [str(link[0]) for link in inputs.values() if isinstance(link, list) and len(link) == 2]
        for id, node in nodes.items()
        if isinstance(inputs := node.get("inputs"), Mapping)
    }
    return kinds, sources


def _editor_graph(graph: Mapping[str, Any]) -> Graph:
    nodes = [node for node in graph["nodes"] if isinstance(node, Mapping)]
    kinds = {str(node.get("id")): str(node.get("type", "")) for node in nodes}
    sources: dict[str, list[str]] = {}
    for link in graph.get("links", ()):
        # A link is [id, from node, from slot, to node, to slot, type].
        if isinstance(link, list) and len(link) >= 4:
            sources.setdefault(str(link[3]), []).append(str(link[1]))
    return kinds, sources
