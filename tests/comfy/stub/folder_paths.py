"""ComfyUI's folders; `root` is set by the test."""

from __future__ import annotations

from pathlib import Path

root = Path()
models_dir = "."


def get_input_directory() -> str:
    return str(root / "input")


def get_output_directory() -> str:
    return str(root / "output")


def get_temp_directory() -> str:
    return str(root / "temp")


def get_save_image_path(prefix: str, folder: str) -> tuple[str, str, int, str, str]:
    sub, _, name = prefix.rpartition("/")
    path = Path(folder) / sub
    path.mkdir(parents=True, exist_ok=True)
    return str(path), name, 1, sub, prefix
