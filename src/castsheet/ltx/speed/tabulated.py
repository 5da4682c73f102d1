"""The modulation of a whole schedule, computed once: it depends on the noise level only. Exact.

Legend: B batch, S segments, N levels, R rows of a modulation, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.layers import AdaLNSingle


class Tabulated(nn.Module):
    """The modulation rows of a fixed list of timesteps; replaces the layers that compute them.

    A lookup does not wait for the GPU. An unknown level never gives the rows of another level: on a CPU it
    raises an error, on a GPU it gives NaN, which the sampler reports.
    """

    t_N: Tensor
    rows_NRC: Tensor
    embedded_NC: Tensor

    def __init__(self, source: AdaLNSingle, t_N: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        # One level at a time: all at once would hold every intermediate tensor N times.
        made = [source(t[None, None], dtype) for t in t_N]
        self.register_buffer("t_N", t_N, persistent=False)
        self.register_buffer("rows_NRC", torch.cat([rows[0] for rows, _ in made]), persistent=False)
        self.register_buffer("embedded_NC", torch.cat([one[0] for _, one in made]), persistent=False)

    def forward(self, t_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        distance_BSN = (t_BS[..., None] - self.t_N).abs()
        nearest_BS = distance_BSN.argmin(dim=-1)
        missed_BS = distance_BSN.amin(dim=-1) > 1e-3
        rows_BSRC, embedded_BSC = self.rows_NRC[nearest_BS], self.embedded_NC[nearest_BS]
        if t_BS.device.type == "cpu":
            if missed_BS.any():
                raise ValueError(f"timesteps {t_BS[missed_BS].tolist()} are not among those tabulated")
        else:
            rows_BSRC = rows_BSRC.masked_fill(missed_BS[..., None, None], torch.nan)
        return rows_BSRC.to(dtype), embedded_BSC.to(dtype)


@contextmanager
def tabulated(
    transformer: Transformer,
    levels: Sequence[float] | Tensor,
    *,
    masks: Sequence[float] = (0.0, 1.0),
    offload: torch.device | str | None = None,
) -> Iterator[Transformer]:
    """Inside the block, modulation is looked up instead of computed, for these noise levels only.

    Args:
        levels: the schedule's sigmas. masks: the shares of a sigma that segments carry (a reference of
            strength s carries 1 - s).
        offload: where the layers go meanwhile; at full size they are 0.4 GiB. None leaves them in place.
    """
    names = [name for name, module in transformer.named_children() if isinstance(module, AdaLNSingle)]
    kept = {name: getattr(transformer, name) for name in names}
    weight = transformer.patchify_proj.weight
    sigma_N1 = torch.as_tensor(levels, dtype=torch.float32, device=weight.device)[:, None]
    shares = torch.tensor([*masks, 1.0], dtype=torch.float32, device=weight.device)
    config = transformer.config
    try:
        with torch.no_grad():
            for name, module in kept.items():
                gate = name in ("av_ca_a2v_gate_adaln_single", "av_ca_v2a_gate_adaln_single")
                scale = config.cross_timestep_scale if gate else config.timestep_scale
                t_N = ((sigma_N1 * shares).flatten() * scale).unique()
                setattr(transformer, name, Tabulated(module, t_N, weight.dtype))
                if offload is not None:
                    module.to(offload)
        yield transformer
    finally:
        for name, module in kept.items():
            setattr(transformer, name, module.to(weight.device))
