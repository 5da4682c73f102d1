"""Model families: one entry in one table tells them apart everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from castsheet.errors import FamilyError
from castsheet.ltx import family
from castsheet.ltx.family import DEFAULT, FAMILIES, Family, Sign, check_config, detect_family
from castsheet.ltx.files.inspect import inspect_file
from castsheet.ltx.header import save_tensors
from tests.doubles.model_doubles import OFFICIAL


def toy(*, runs: bool) -> Family:
    """A family that nobody made: its blocks hum."""
    return Family(
        name="ltx-9.1",
        title="LTX-9.1",
        stated=r"^v?9\.1(?!\d)",
        signs=(Sign(("transformer_blocks.0.hum.weight",)),),
        runs=runs,
        flags={"qk_norm": "rms_norm"},
        traits={"hums": True},
        remedy="ask the toy maker",
    )


def test_a_new_family_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Red: some place tells families apart without the table, and a new one must be added there too."""
    file = tmp_path / "toy.safetensors"
    save_tensors({"model.diffusion_model.transformer_blocks.0.hum.weight": torch.zeros(2, 2)}, file, {})
    assert detect_family((), ["transformer_blocks.0.hum.weight"]) == "unknown"
    assert "LTX-9.1" not in str(inspect_file(file))
    monkeypatch.setitem(FAMILIES, "ltx-9.1", toy(runs=False))
    assert detect_family(["9.1.0"], ()) == "ltx-9.1"
    assert detect_family((), ["model.diffusion_model.transformer_blocks.0.hum.weight"]) == "ltx-9.1"
    assert "ltx-9.1" in str(inspect_file(file)).lower()
    with pytest.raises(FamilyError, match=r"traits of LTX-9\.1 \(hums\)"):
        check_config({**OFFICIAL["transformer"], "hums": True})
    with pytest.raises(FamilyError, match=r"LTX-9\.1; only LTX-2\.3 and LTX-2\.5 run"):
        family.refuse_checkpoint(file, "ltx-9.1")
    with pytest.raises(FamilyError, match=r"for ltx-2\.3, the model is ltx-9\.1"):
        family.refuse_adapter(file, "ltx-2.3", "ltx-9.1")
    monkeypatch.setitem(FAMILIES, "ltx-9.1", toy(runs=True))
    assert check_config({"hums": True, "qk_norm": "rms_norm"}).name == "ltx-9.1"
    family.refuse_checkpoint(file, "ltx-9.1")
    with pytest.raises(FamilyError) as caught:
        check_config({"hums": True, "qk_norm": "none"})
    assert caught.value.remedy == "ask the toy maker"


def test_the_default_family_runs() -> None:
    """Red: files that do not say what they are would be read as of a family that is refused."""
    assert [one.name for one in FAMILIES.values() if one.runs] == [DEFAULT.name, "ltx-2.5"]
    assert check_config(OFFICIAL["transformer"]) is DEFAULT


def test_the_table_needs_no_torch() -> None:
    """Red: checks, settings and doctor would wait for torch to be imported."""
    code = "import sys, castsheet.ltx.family, castsheet.lint.video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
