"""Tiny models that the tests of the pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest

from castsheet.pipeline import Castsheet
from tests.doubles.tiny_bundle import (
    build_bundle,
)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def joint_bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("joint"), audio=True)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def castsheet(bundle, cache) -> Castsheet:
    return Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=cache)
