"""The shim that ComfyUI loads from `custom_nodes`: the nodes are in the installed package `castsheet`."""

try:
    from castsheet.comfy import comfy_entrypoint
except ImportError as error:
    raise ImportError("Castsheet is not installed here: see README.md in this folder") from error

WEB_DIRECTORY = "web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
