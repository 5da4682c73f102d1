"""torch's compiler with one change of its choices: a kernel that reduces rows reads each row once.

By itself it holds a row in registers up to 1024 numbers only. Longer ones are read twice, and all that comes
before the reduction (norm, modulation, GELU) is computed twice. A model's rows have 2048 to 16384, which fit
a block of 8 or 16 warps without spilling; those kernels are bound by their instructions as much as by memory.
Imported where something is compiled: it takes the compiler with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._inductor.choices import InductorChoices
from torch._inductor.compile_fx import compile_fx
from torch._inductor.runtime.hints import ReductionHint
from torch._inductor.virtualized import V

LONGEST = 16384  # numbers in a row: 32 for each thread of 16 warps


class RowChoices(InductorChoices):
    """The compiler's own choices but for the length of a row that is read once."""

    @staticmethod
    def should_use_persistent_reduction(features: Any, cooperative_reduction: bool) -> bool:
        along_rows = features.get_reduction_hint() not in (ReductionHint.OUTER, ReductionHint.OUTER_TINY)
        numbers = features.reduction_numel
        if along_rows and not cooperative_reduction and numbers.is_number and numbers <= LONGEST:
            return True
        return InductorChoices.should_use_persistent_reduction(features, cooperative_reduction)

    def uuid(self) -> str:
        """What compiled code is kept under, beside the code that it was made from."""
        return f"{type(self).__qualname__}-{LONGEST}"


def compile_graph(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
    """A backend of `torch.compile`."""
    # The handler has the effect; the setting enters the key of the compiler's cache on disk.
    with V.set_choices_handler(RowChoices()):
        return compile_fx(graph, inputs, config_patches={"inductor_choices_class": RowChoices})
