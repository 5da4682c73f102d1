"""Keeps tensors in host memory: blocks' inputs until the backward pass, gradients until the update.

Copies run beside the computation on their own stream: a block's input leaves while the next block runs, and
comes back while the next block is still in its backward pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class Leaving:
    """Tensors of one device on their way to host memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._under_way = deque[tuple[Tensor, Any]]()  # with the event of its finished copy

    def room(self, like: Tensor) -> Tensor:
        """Host memory for a tensor."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=self.stream is not None)

    def send(self, tensor: Tensor, host: Tensor) -> None:
        """Start the copy of a tensor. The tensor is kept until the next one is sent."""
        with self.aside():
            host.copy_(tensor.detach(), non_blocking=True)
        if self.stream is not None:
            self._under_way.append((tensor.detach(), self.stream.record_event()))
            self.let_go(1)

    def let_go(self, left: int = 0) -> None:
        """Give back all but `left` of the tensors that are leaving.

        The computing stream waits for their copies first, so that it can use their memory at once. With
        torch's record_stream the memory would lie idle until the host, a pass ahead, sees the copies done.
        """
        while len(self._under_way) > left:
            _, copied = self._under_way.popleft()
            torch.cuda.current_stream(self.device).wait_event(copied)

    def aside(self) -> Any:
        """The copying stream, after all present work of the computing stream."""
        if self.stream is None:
            return nullcontext()
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        return torch.cuda.stream(self.stream)


class _Copy:
    """One tensor in host memory. `before` was put there before it and is needed after it."""

    def __init__(self, host: Tensor, before: _Copy | None) -> None:
        self.host, self.before = host, before
        self.back: Tensor | None = None


class HostCopies:
    """Keeps blocks' inputs of one device in host memory."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._leaving = device, Leaving(device)
        self._last: _Copy | None = None

    def around(self, forward: Callable[..., Any], x: Tensor, *arguments: Any) -> Any:
        """Run `forward`; if autograd saves x for the backward pass, the saved copy goes to host memory."""
        place, shape = x.data_ptr(), x.shape  # not x itself: autograd keeps `pack` until the backward pass

        def pack(tensor: Tensor) -> Tensor | _Copy:
            whole = tensor.data_ptr() == place and tensor.shape == shape and tensor.is_contiguous()
            return self._leave(tensor) if whole else tensor

        with saved_tensors_hooks(pack, self._return):
            return forward(x, *arguments)

    def _leave(self, tensor: Tensor) -> _Copy:
        host = self._leaving.room(tensor)
        self._leaving.send(tensor, host)
        self._last = _Copy(host, self._last)
        return self._last

    def _return(self, kept: Tensor | _Copy) -> Tensor:
        if not isinstance(kept, _Copy):
            return kept
        self._leaving.let_go()
        self._fetch(kept)
        if self._leaving.stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._leaving.stream)
        value, self._last = kept.back, kept.before
        assert value is not None
        kept.back = kept.before = None
        if self._last is not None:
            self._fetch(self._last)
        return value

    def _fetch(self, kept: _Copy) -> None:
        if kept.back is not None:
            return
        # Allocated on the computing stream, whose earlier work may still use that memory.
        kept.back = torch.empty(kept.host.shape, dtype=kept.host.dtype, device=self.device)
        with self._leaving.aside():
            kept.back.copy_(kept.host, non_blocking=True)
