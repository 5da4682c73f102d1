"""Checks of ComfyUI workflows: on the two official graphs, and on faults made by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from castsheet.lint.findings import family
from castsheet.lint.graph import Link, read_graph
from castsheet.lint.workflow import lint_workflow

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


COMFY: Graph = {
    # Comfy-Org's "IC-LoRA Ingredients": its nodes and values, as the editor exports them for the API.
    "724": node("LoadImage", image="sheet.png"),
    "715": node("PrimitiveInt", value=5),
    "716": node("PrimitiveInt", value=25),
    "717": node(
        "ComfyMathExpression", expression="a * b", **{"values.a": ["715", 0], "values.b": ["716", 0]}
    ),
    "709": node("RepeatImageBatch", image=["724", 0], amount=["717", 1]),
    "722": node(
        "ResizeAndPadImage",
        image=["709", 0],
        target_width=1280,
        target_height=720,
        padding_color="black",
        interpolation="lanczos",
    ),
    "721": node("GetImageSize", image=["722", 0]),
    "127": node("CheckpointLoaderSimple", ckpt_name="ltx-2.3-22b-distilled-fp8.safetensors"),
    "195": node(
        "LoraLoaderModelOnly",
        model=["127", 0],
        lora_name="ltx-2.3-22b-ic-lora-ingredients-0.9.safetensors",
        strength_model=1.0,
    ),
    "109": node("LTXVConditioning", frame_rate=["123", 0]),
    "123": node("ComfyMathExpression", expression="a", **{"values.a": ["716", 0]}),
    "108": node("EmptyLTXVLatentVideo", width=["721", 0], height=["721", 1], length=["721", 2], batch_size=1),
    "198": node("LTXVImgToVideoInplace", latent=["108", 0], strength=1.0, bypass=True),
    "115": node(
        "LTXVAddGuide",
        positive=["109", 0],
        negative=["109", 1],
        vae=["127", 2],
        latent=["198", 0],
        image=["722", 0],
        frame_idx=0,
        strength=1.0,
    ),
    "101": node("LTXVEmptyLatentAudio", frames_number=["721", 2], frame_rate=["716", 0]),
    "119": node("LTXVConcatAVLatent", video_latent=["115", 2], audio_latent=["101", 0]),
    "704": node(
        "KSampler",
        model=["195", 0],
        positive=["115", 0],
        negative=["115", 1],
        latent_image=["119", 0],
        steps=8,
        cfg=1.0,
    ),
    "121": node("LTXVSeparateAVLatent", av_latent=["704", 0]),
    "106": node("LTXVCropGuides", positive=["115", 0], negative=["115", 1], latent=["121", 0]),
    "105": node("VAEDecodeTiled", samples=["106", 2], vae=["127", 2]),
    "122": node("CreateVideo", images=["105", 0], fps=["123", 0]),
}

LIGHTRICKS: Graph = {
    # Lightricks' single-stage graph, as far as the checks read it; the sheet comes in at 544 px, 1024 wide.
    "1": node("CheckpointLoaderSimple", ckpt_name="ltx-2.3-22b-dev.safetensors"),
    "2": node(
        "LoraLoaderModelOnly",
        model=["1", 0],
        lora_name="ltx-2.3-22b-distilled-lora-384.safetensors",
        strength_model=0.5,
    ),
    "3": node(
        "LTXICLoRALoaderModelOnly",
        model=["2", 0],
        lora_name="ltx-2.3-22b-ic-lora-ingredients-0.9.safetensors",
        strength_model=1.0,
    ),
    "4": node("LTXVConditioning", frame_rate=24.0),
    "5": node("EmptyLTXVLatentVideo", width=1024, height=544, length=241),
    "6": node("LoadImage", image="sheet.png"),
    "7": node("RepeatImageBatch", image=["6", 0], amount=241),
    "8": node(
        "LTXAddVideoICLoRAGuide",
        positive=["4", 0],
        negative=["4", 1],
        latent=["5", 0],
        image=["7", 0],
        frame_idx=0,
        strength=1.0,
        crop="disabled",
    ),
    "9": node("CFGGuider", model=["3", 0], positive=["8", 0], negative=["8", 1], cfg=1.0),
    "10": node("SamplerCustomAdvanced", guider=["9", 0], latent_image=["8", 2]),
    "11": node("LTXVCropGuides", positive=["8", 0], negative=["8", 1], latent=["10", 0]),
    "12": node("LTXVTiledVAEDecode", latents=["11", 2]),
    "13": node("CreateVideo", images=["12", 0], fps=24.0),
}


def found(graph: Graph) -> list[tuple[str, str]]:
    """Rules and messages."""
    return [(one.rule, one.message) for one in lint_workflow(graph)]


def changed(graph: Graph, id: str, **inputs: Any) -> Graph:
    """The graph with a node's inputs changed."""
    made = copy.deepcopy(graph)
    made[id]["inputs"] |= inputs
    return made


CARD = changed(
    changed(changed(COMFY, "722", target_width=768, target_height=448), "716", value=24),
    "717",
    expression="a * b + 1",
)
CARD["195"]["inputs"]["strength_model"] = 1.4
CARD["127"]["inputs"]["ckpt_name"] = "ltx-2.3-22b-dev.safetensors"
CARD["704"]["inputs"] |= {"steps": 30, "cfg": 4.0}


def test_comfys_template_leaves_the_card_in_these_ways():
    """Red: a departure of the official template is not named, with its node and its numbers."""
    told = {
        "W01": ["108 (EmptyLTXVLatentVideo): height 720 becomes 704", "length 125 becomes 121 frames"],
        "W02": [
            "115 (LTXVAddGuide): the sheet comes in at 1280 x 720 and the latent is 1280 x 704:"
            " it loses 8 px top and bottom"
        ],
        "W06": ["704 (KSampler): cfg 1, 8 steps with ltx-2.3-22b-distilled-fp8.safetensors"],
        "V01": [
            "109 (LTXVConditioning): 25 fps: the adapter was trained at 24",
            "1280 x 704 is not the size",
        ],
        "V02": ["195 (LoraLoaderModelOnly): adapter strength 1; the preset's recipe uses 1.4"],
    }
    for rule, parts in told.items():
        messages = [message for one, message in found(COMFY) if one == rule]
        assert len(messages) == len(parts)
        assert all(part in message for part, message in zip(parts, messages, strict=True))
    assert {rule for rule, _ in found(COMFY)} == set(told)
    assert found(CARD) == []


def test_lightricks_graph_leaves_the_card_in_these_ways():
    """Red: Lightricks' stretching, its length, its size, its strength or its distilled LoRA is not named."""
    assert [rule for rule, _ in found(LIGHTRICKS)] == ["W02", "W06", "V01", "V01", "V02"]
    assert "crop is disabled" in found(LIGHTRICKS)[0][1]
    assert "distilled-lora" in found(LIGHTRICKS)[1][1]


TWO = changed(CARD, "115", positive=["1", 0], negative=["1", 1], latent=["1", 2]) | {
    "1": node(
        "LTXVAddGuide", positive=["109", 0], latent=["198", 0], image=["724", 0], frame_idx=0, strength=1.0
    )
}
STILL = CARD | {
    "8": node("CastsheetGuide", latent=["198", 0], sheet=["9", 0], reference="as the sheet says"),
    "9": node("CastsheetSheet", width=768, height=448, length=121, reference="still"),
}
FAULTS = {
    "no crop": (changed(CARD, "105", samples=["121", 0]), "V03", "node 105 (VAEDecodeTiled) decodes"),
    "odd width": (changed(CARD, "722", target_width=770), "W01", "width 770 becomes 768"),
    "no size at all": (changed(CARD, "722", target_width=0), "V01", "setting width = 0"),
    "square sheet": (changed(CARD, "108", width=448, height=448), "W02", "loses 160 px left and right"),
    "small sheet": (changed(CARD, "108", width=1536, height=896), "W02", "is scaled to 1536 x 896"),
    "short reference": (changed(CARD, "709", amount=49), "W02", "49 pictures for 121 frames"),
    "one picture": (changed(CARD, "115", image=["724", 0]), "W02", "one picture"),
    "the sheet's picture, not its reference": (
        changed(CARD, "115", image=["9", 1])
        | {"9": node("CastsheetSheet", width=768, height=448, length=121)},
        "W02",
        "one picture",
    ),
    "still by the sheet": (STILL, "W02", "a still sheet"),
    "still by the guide": (
        changed(changed(STILL, "8", reference="still"), "9", reference="looped"),
        "W02",
        "a still",
    ),
    "sound first": (changed(CARD, "115", latent=["119", 0]), "W03", "its latent comes from node 119"),
    "two guides": (TWO, "W04", "both begin at frame 0"),
    "rates": (changed(CARD, "122", fps=25.0), "W05", "24 in node 109 (LTXVConditioning), 25 in node 122"),
    "plain cfg 1": (changed(CARD, "704", cfg=1.0), "W06", "without a distilled model or LoRA"),
    "distilled cfg 4": (
        changed(CARD, "127", ckpt_name="ltx-2.3-22b-distilled.safetensors"),
        "W06",
        "which was made for cfg 1",
    ),
    "families": (
        changed(CARD, "195", lora_name="ltx-2.5-22b-ic-lora-ingredients.safetensors"),
        "V02",
        "the adapter is of ltx-2.5, the checkpoint of ltx-2.3",
    ),
}
# The sampler takes the model as it was loaded.
FAULTS["no adapter"] = (
    {key: one for key, one in STILL.items() if key != "195"},
    "W07",
    "node 8 (CastsheetGuide) shows a sheet",
)
# A latent of its own length keeps the fault of a short reference to itself.
FAULTS["short reference"][0]["108"]["inputs"]["length"] = 121


@pytest.mark.parametrize("name", FAULTS)
def test_what_goes_wrong_is_named(name):
    """Red: a fault that people report passes, or is told without its node."""
    graph, rule, message = FAULTS[name]
    told = [text for one, text in found(graph) if one == rule]
    assert any(message in text for text in told), told


def test_a_graph_of_the_newer_family_is_held_against_its_own_recipe():
    """Red: LTX-2.5 graphs are told the strength of 2.3's adapter, or a wrong one passes."""
    files = {"ckpt_name": "ltx-2.5-22b-dev.safetensors"}
    lora = {"lora_name": "ltx-2.5-22b-ic-lora-ingredients.safetensors"}
    graph = changed(changed(CARD, "127", **files), "195", **lora, strength_model=1.0)
    assert "V02" not in [rule for rule, _ in found(graph)]
    told = [text for rule, text in found(changed(graph, "195", strength_model=1.4)) if rule == "V02"]
    assert any("uses 1" in text for text in told), told


def test_guides_of_plain_pictures_need_no_adapter():
    """Red: everybody who guides a clip by a first frame is told to load an Ingredients adapter."""
    alone = {key: one for key, one in CARD.items() if key != "195"}
    assert "W07" not in [rule for rule, _ in found(alone)]
    assert "W07" not in [rule for rule, _ in found(STILL)]


def test_every_workflow_rule_has_a_fault():
    """Red: a rule was added that nothing shows to catch anything."""
    assert {rule for _, rule, _ in FAULTS.values()} >= {one.id for one in family("W")}


def test_castsheets_own_nodes_are_known():
    """Red: Castsheet Guide without a crop passes, or Castsheet Crop does not count as one."""
    graph = {
        "1": node("EmptyLTXVLatentVideo", width=["9", 7], height=["9", 8], length=["9", 9]),
        "2": node("CastsheetGuide", latent=["1", 0], sheet=["9", 0]),
        "3": node("CastsheetCrop", latent=["2", 2]),
        "4": node("VAEDecode", samples=["3", 2]),
        "9": node("CastsheetSheet", width=768, height=448, length=121, fps=24.0),
    }
    assert found(graph) == []
    assert [rule for rule, _ in found(changed(graph, "4", samples=["2", 2]))] == ["V03"]
    assert "W01" in [rule for rule, _ in found(changed(graph, "9", width=700))]


def test_an_editors_file_is_taken_apart():
    """Red: a muted node counts, a subgraph hides its nodes, or a value gets another's name."""
    inner = {
        "id": "sub",
        "nodes": [
            {
                "id": 5,
                "type": "KSampler",
                "inputs": [{"name": "latent_image", "link": 1}, {"name": "seed", "widget": {"name": "seed"}}],
                "widgets_values": [3, "fixed", 30, 4.0, "euler", "simple", 1.0],
            },
            {
                "id": 6,
                "type": "RandomNoise",
                "inputs": [_widget("noise_seed")],
                "widgets_values": [7, "randomize"],
            },
        ],
        "links": [_link(1, -10, 0, 5, 0), _link(2, 5, 0, -20, 0)],
    }
    raw = {
        "nodes": [
            {"id": 1, "type": "EmptyLTXVLatentVideo", "widgets_values": [768, 448, 121, 1]},
            {"id": 2, "type": "sub", "inputs": [{"name": "latent", "type": "LATENT"}]},
            {
                "id": 3,
                "type": "Skipped",
                "mode": 4,
                "inputs": [{"name": "x", "type": "LATENT"}],
                "outputs": [{"type": "LATENT"}],
            },
            {"id": 4, "type": "VAEDecode", "inputs": [{"name": "samples", "type": "LATENT"}]},
            {"id": 7, "type": "Gone", "mode": 2},
            {"id": 8, "type": "Named", "widgets_values": {"steps": 3}},
        ],
        "links": [
            [1, 1, 0, 2, 0, "LATENT"],
            [2, 2, 0, 3, 0, "LATENT"],
            [3, 3, 0, 4, 0, "LATENT"],
            [4, 7, 0, 8, 0, "LATENT"],
        ],
        "definitions": {"subgraphs": [inner]},
    }
    graph = read_graph(raw)
    assert set(graph) == {"1", "2:5", "2:6", "4", "8"}
    assert graph["1"].inputs["length"] == 121
    assert graph["2:5"].inputs["latent_image"] == Link("1", 0)
    assert graph["2:5"].inputs["steps"] == 30
    assert graph["2:6"].inputs == {"noise_seed": 7}
    assert graph["4"].inputs["samples"] == Link("2:5", 0)
    assert graph["8"].inputs["steps"] == 3
    assert read_graph({"nodes": [3, {"id": 1, "type": "sub"}], "definitions": {"subgraphs": [inner, 4]}})


def _widget(name: str) -> dict[str, Any]:
    return {"name": name, "widget": {"name": name}}


def _link(id: int, origin: int, slot: int, target: int, target_slot: int) -> dict[str, Any]:
    told = {"origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": target_slot}
    return {"id": id, "type": "LATENT", **told}


def _nested(*links):
    """A file whose one node is a subgraph with one node in it, and the links inside."""
    inner = {"id": "s", "nodes": [{"id": 1, "type": "K"}], "links": list(links)}
    return {"nodes": [{"id": 1, "type": "s"}], "definitions": {"subgraphs": [inner]}}


def _holding(kinds):
    """A file with a subgraph for each key, that holds nodes of the kinds beside it."""
    subgraphs = [
        {"id": kind, "nodes": [{"id": number, "type": one} for number, one in enumerate(held)]}
        for kind, held in kinds.items()
    ]
    return {"nodes": [{"id": 1, "type": next(iter(kinds))}], "definitions": {"subgraphs": subgraphs}}


def _bypassed(count, last):
    """A file with so many bypassed nodes in a row; `last` feeds the first of them."""
    socket = [{"name": "a", "type": "A"}]
    nodes = [{"id": n, "mode": 4, "inputs": socket, "outputs": socket} for n in range(count)]
    nodes += [{"id": count, "type": "K", "inputs": socket}, {"id": count + 1, "type": "L"}]
    links = [[n, n - 1, 0, n, 0, "A"] for n in range(1, count + 1)] + [[0, last, 0, 0, 0, "A"]]
    return {"nodes": nodes, "links": links}


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"nodes": [{"id": {}, "type": "K"}, {"id": 2, "type": "K"}]}, {"2"}),
        (_nested([1, 1, 0, -20, 10**12, "A"]), {"1:1"}),
        (
            {"nodes": [{"id": 2, "type": ["K"]}], "links": [[1, [], 0, 2, 0, "A"], [1, 2, -1, 2, 0, "A"]]},
            {"2"},
        ),
        (_holding({"s": ["s", "K"]}), {"1:1"}),
        (_holding({"s": ["t", "K"], "t": ["s", "K"]}), {"1:0:1", "1:1"}),
        (_bypassed(1, last=0), {"1", "2"}),
        (_bypassed(3000, last=3001), {"3000", "3001"}),
        (_holding({f"s{n}": [f"s{n + 1}"] for n in range(3000)}), set()),
    ],
)
def test_strange_ids_and_endless_graphs_are_left_out(raw, found):
    """Red: a workflow from anywhere ends the check with an error of Python's, or fills the memory."""
    assert set(read_graph(raw)) == found


def test_subgraphs_that_multiply_end():
    """Red: nine levels that hold the next one ten times each are a thousand million nodes."""
    kinds = {f"s{n}": [f"s{n + 1}"] * 10 for n in range(9)} | {"s9": ["K"]}
    assert len(read_graph(_holding(kinds))) <= 10_000


def test_a_bypassed_nodes_source_is_found():
    """Red: what bounds loops also cuts honest chains."""
    graph = read_graph(_bypassed(20, last=21))
    assert [link.node for link in graph["20"].links] == ["21"]
