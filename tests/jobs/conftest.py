"""A tiny model and a request of it, shared by the tests of jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from castsheet.jobs.request import Request
from castsheet.loading.options import Loading
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    replace(tiny_sheet(), image=Image.new("RGB", (128, 64), "red")).save(folder / "sheet.png")
    return build_bundle(folder)


@pytest.fixture
def request_(bundle: Path, tmp_path: Path) -> Request:
    return Request(
        source=bundle / "sheet.png",
        out=tmp_path / "clip.mp4",
        action="hero waves",
        model=str(bundle),
        loading=Loading(device="cpu", dtype="fp32", cache_dir=tmp_path / "cache"),
        force=True,
        settings={"steps": 2, "guidance": 1, "stg_blocks": [1]},
    )
