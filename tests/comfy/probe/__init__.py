"""Test nodes inside ComfyUI: a made-up text context, and a window on any value along a wire."""

from pathlib import Path

import folder_paths
import torch


class ProbeText:
    """CONDITIONING of random numbers, in place of a text encoder."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "run"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"width": ("INT", {"default": 384}), "seed": ("INT", {"default": 0})}}

    def run(self, width, seed):
        generator = torch.Generator().manual_seed(seed)
        return ([[torch.randn(1, 128, width, generator=generator), {}]],)


class ProbeSave:
    """Writes a value to output/probe/NAME.pt."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "probe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*", {}), "name": ("STRING", {"default": "value"})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    def run(self, value, name):
        path = Path(folder_paths.get_output_directory()) / "probe" / f"{name}.pt"
        path.parent.mkdir(exist_ok=True)
        torch.save(plain(value), path)
        return {"ui": {"probe": [name]}}


def plain(value):
    """The value without classes of ComfyUI's or of Castsheet's, contiguous."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().clone()
    if getattr(value, "is_nested", False):
        return [plain(one) for one in value.unbind()]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


NODE_CLASS_MAPPINGS = {"ProbeText": ProbeText, "ProbeSave": ProbeSave}
