"""How much each spot of a clip counts while mini is trained: every part of the cast alike, however small.

An action moves everybody in the same way, so where a part is to be expected follows from the action alone:
the mean over a few training identities. Shoes cover a hundredth of the pixels that the sky covers; in a
plain mean over tokens a denoiser can leave them out at no cost.

Legend: A actions, F frames, H height, W width, N tokens of a clip.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from mini.evaluation.parts import PERSON, REGIONS, wearing
from mini.training.architecture import HEIGHT, WIDTH
from mini.world import TRAINING
from mini.world.mesh import build_actor
from mini.world.motion import ACTIONS, clip_poses
from mini.world.render import Renderer

IDENTITIES = 4
CAST_SHARE = 0.5  # of the weight of a whole clip; the rest is spread evenly over all of it
MOST = 100.0  # times the mean that one part may weigh at one spot
_CAST = tuple(REGIONS.index(name) for name in (*PERSON, "hat", "prop"))


def emphasis(renderer: Renderer) -> Tensor:
    """Weights (A,F,H,W) of pixels, fp32; about 1 in the mean over a clip, never 0."""
    seen = np.zeros((len(ACTIONS), len(REGIONS), *_shape()), np.float32)
    for seed in TRAINING[:IDENTITIES]:
        actor = build_actor(seed)
        renderer.set_actor(actor)
        numbers = np.full(256, len(REGIONS), np.uint8)
        for part, name in wearing(actor.look).items():
            numbers[part] = REGIONS.index(name)
        for index, action in enumerate(ACTIONS):
            regions = numbers[renderer.frames(clip_poses(action), (WIDTH, HEIGHT), masks=True)]
            for region in _CAST:
                seen[index, region] += regions == region
    weights = [balanced(torch.from_numpy(one[list(_CAST)])) for one in seen]
    return torch.stack(weights)


def _shape() -> tuple[int, int, int]:
    return len(clip_poses(next(iter(ACTIONS)))), HEIGHT, WIDTH


def balanced(seen_PFHW: Tensor) -> Tensor:
    """Weights (F,H,W) in which every part that is seen at all has one share, from how often each is where."""
    shown = seen_PFHW[seen_PFHW.flatten(1).any(1)]
    relative = shown / shown.mean(dim=(1, 2, 3), keepdim=True)
    return 1 - CAST_SHARE + CAST_SHARE * relative.clamp(max=MOST).mean(0)


def token_weights(emphasis_AFHW: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Weights (A,N) of latent tokens: means over their pixels; the first latent frame holds one frame."""
    frames, rows, columns = cells
    first, rest = emphasis_AFHW[:, :1], emphasis_AFHW[:, 1:]
    pooled = nnf.adaptive_avg_pool3d(rest, (frames - 1, rows, columns))
    return torch.cat([nnf.adaptive_avg_pool3d(first, (1, rows, columns)), pooled], dim=1).flatten(1)
