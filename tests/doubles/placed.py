"""A placement whose plan is given, as if a GPU had led to it."""

from __future__ import annotations

from dataclasses import replace

import torch

from castsheet.loading.placement import Placement
from castsheet.ltx.speed.memory import GIB, Plan


class Planned(Placement):
    """A placement whose plan is given, as if a GPU had led to it; and a record of who took the GPU."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(torch.device("cpu"))
        self.plan, self.turns = plan, []

    def settle(self, *_):
        return self.plan

    def turn(self, part, others):
        self.turns.append(type(part).__name__)
        super().turn(part, others)


def planned(**changes) -> Plan:
    whole = Plan("plain", 3, 3, True, "beside", False, peak=GIB, budget=2 * GIB)
    return replace(whole, **changes)
