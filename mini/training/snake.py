"""The vocoder's activation as a few GPU kernels: upsample, snake, downsample.

Each of its 200 activations filters every channel twice, which libraries do as a grouped convolution of one
channel a group: a step spent most of its time there. Here the filters are sums of shifted copies, which
torch.compile joins with the snake between them; what lies between the two halves is written to memory, since
one function of both took minutes to compile.

Legend: B batch, C channels, L samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.pipelines.ltx2.vocoder import AntiAliasAct1d, SnakeBeta
from torch import Tensor, nn

TAPS = 12  # of each filter
Filter = tuple[float, ...]


@contextmanager
def joined(vocoder: nn.Module, *, compiled: bool) -> Iterator[None]:
    """Inside, a vocoder's activations are joined ones; its parameters stay what they are."""
    named = [(one, name, part) for one in vocoder.modules() for name, part in one.named_children()]
    replaced = [(one, name, part) for one, name, part in named if isinstance(part, AntiAliasAct1d)]
    halves = (torch.compile(upper, dynamic=True), torch.compile(lower, dynamic=True)) if compiled else HALVES
    for one, name, part in replaced:
        setattr(one, name, _Joined(part, halves))
    try:
        yield
    finally:
        for one, name, part in replaced:
            setattr(one, name, part)


class _Joined(nn.Module):
    def __init__(self, part: AntiAliasAct1d, halves: tuple[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        assert isinstance(part.act, SnakeBeta)
        assert part.act.use_beta
        assert part.act.logscale
        self.act = part.act
        self.upper, self.lower = halves
        self.up, self.down = (taps(one.filter) for one in (part.upsample, part.downsample))

    def forward(self, x_BCL: Tensor) -> Tensor:
        even, odd = self.upper(x_BCL, self.act.alpha, self.act.beta, self.up, self.act.eps)
        made = self.lower(even, odd, self.down)
        assert isinstance(made, Tensor)
        return made


def taps(stored: Tensor) -> Filter:
    """A stored filter's numbers."""
    assert stored.numel() == TAPS
    return tuple(stored.flatten().tolist())


def upper(x_BCL: Tensor, alpha_C: Tensor, beta_C: Tensor, up: Filter, eps: float) -> tuple[Tensor, Tensor]:
    """The even and the odd samples of the signal at twice the rate, after the snake, whose numbers are
    logarithms.
    """
    length = x_BCL.shape[-1]
    first, last = x_BCL[..., :1], x_BCL[..., -1:]
    padded = torch.cat([first, first, first, x_BCL, last, last, last], dim=-1)
    shifted = [padded[..., number : number + length] for number in range(7)]
    even, odd = shifted[0] * (2 * up[11]), shifted[6] * (2 * up[0])
    for number in range(1, 6):
        even = even + shifted[number] * (2 * up[11 - 2 * number])
        odd = odd + shifted[number] * (2 * up[12 - 2 * number])
    rate, size = alpha_C.exp()[:, None], 1 / (beta_C.exp()[:, None] + eps)
    even, odd = (one + size * torch.sin(one * rate).square() for one in (even, odd))
    return even, odd


def lower(even_BCL: Tensor, odd_BCL: Tensor, down: Filter) -> Tensor:
    """Every second sample of the filtered signal (B,C,L)."""
    length = even_BCL.shape[-1]
    begin, end = even_BCL[..., :1], odd_BCL[..., -1:]
    evens = torch.cat([begin, begin, even_BCL, end, end, end], dim=-1)
    odds = torch.cat([begin, begin, begin, odd_BCL, end, end], dim=-1)
    out = torch.zeros_like(even_BCL)
    for number in range(6):
        out = out + down[2 * number + 1] * evens[..., number : number + length]
        out = out + down[2 * number] * odds[..., number : number + length]
    return out


HALVES = upper, lower
