"""A kind of adapter is one entry of `KINDS`: a toy one, registered here and known nowhere else, works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from castsheet.errors import AdapterError
from castsheet.ltx.adapters.kinds import KINDS, Kind, Stored, Term
from castsheet.ltx.adapters.lora import attach, load_attached
from castsheet.ltx.files.inspect import inspect_file
from tests.doubles.lora_tiny import merge, one_layer, saved
from tests.doubles.ltx_tiny import randn, tiny_transformer

NAME, OTHER = "transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn1.to_q"


@dataclass(frozen=True)
class Kronecker:
    """Adds alpha * kron(left, right)."""

    left: Stored
    right: Stored
    alpha: float
    rank: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0] * self.right.shape[0], self.left.shape[1] * self.right.shape[1]

    def factors(self, tensor: Callable[[str], Tensor]) -> tuple[Tensor, ...]:
        return self.alpha * tensor(self.left.key), tensor(self.right.key)

    def delta(self, *factors: Tensor) -> Tensor:
        return torch.kron(*factors)


def term(parts: Mapping[str, Stored]) -> Term | None:
    if "left" not in parts or "right" not in parts:
        return None
    alpha = parts["alpha"].value if "alpha" in parts else 1.0
    return Kronecker(parts["left"], parts["right"], 1.0 if alpha is None else alpha)


@pytest.fixture(autouse=True)
def kronecker(monkeypatch) -> None:
    kind = Kind({".kron_left": "left", ".kron_right": "right"}, {".alpha": "alpha"}, term)
    monkeypatch.setitem(KINDS, "Kronecker", kind)


def kron_layer(name: str, size: int = 8) -> dict[str, Tensor]:
    return {
        f"diffusion_model.{name}.kron_left": randn(4, 4, seed=5),
        f"diffusion_model.{name}.kron_right": randn(size, size, seed=6),
        f"diffusion_model.{name}.alpha": torch.tensor(0.5),
    }


def test_a_new_kind_is_read_and_merged(tmp_path) -> None:
    """Red: a kind of adapter needs more than its entry in the table before it changes a model."""
    tensors = {**kron_layer(NAME), **one_layer(OTHER)}
    adapter = saved(tmp_path / "a.safetensors", tensors)
    model, before = tiny_transformer(), tiny_transformer()
    assert merge(model, [(adapter, 0.8)]) == ()
    left, right, _ = kron_layer(NAME).values()
    down, up = one_layer(OTHER).values()
    wanted = {NAME: 0.4 * torch.kron(left, right), OTHER: 0.8 * up @ down}
    for name in (NAME, OTHER):
        change = model.get_submodule(name).weight - before.get_submodule(name).weight
        assert torch.allclose(change, wanted[name], atol=1e-5)
    report = inspect_file(adapter.path)
    assert report.kind == "lora"
    assert report.adapter is not None
    assert report.adapter.ranks == {1: 1, 4: 1}


def test_a_new_kind_is_checked(tmp_path) -> None:
    """Red: half a term, a layer in two kinds at once or a term of another size is merged or ignored."""
    half = kron_layer(NAME)
    del half[f"diffusion_model.{NAME}.kron_left"]
    with pytest.raises(AdapterError, match="incomplete or mis-shaped"):
        saved(tmp_path / "half.safetensors", half)
    with pytest.raises(AdapterError, match="incomplete or mis-shaped"):
        saved(tmp_path / "both.safetensors", {**kron_layer(NAME), **one_layer(NAME)})
    large = saved(tmp_path / "large.safetensors", kron_layer(NAME, size=16))
    with pytest.raises(AdapterError, match=r"\(64, 64\), not \(32, 32\)"):
        merge(tiny_transformer(), [(large, 1.0)])
    with pytest.raises(AdapterError, match="LoRA, Kronecker"):
        saved(tmp_path / "other.safetensors", {f"{NAME}.hada_w1_a": randn(4, 4, seed=1)})


def test_only_lora_is_trained_on(tmp_path) -> None:
    """Red: training goes on from a file whose numbers are not those that train."""
    model = tiny_transformer()
    attach(model, 4, targets=("attn1.to_q",))
    with pytest.raises(AdapterError, match="does not have the attached layers"):
        load_attached(model, saved(tmp_path / "a.safetensors", kron_layer(NAME)))
