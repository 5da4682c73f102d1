"""What a distilled adapter learns: a frozen teacher's guided prediction, or several of its steps in one.

The teacher is the same model without the adapter that is trained, run with guidance. Its negative prompt and
its perturbed pass cost passes in every step; a student makes one pass.

`guidance` (Meng et al., arXiv:2210.03142, first stage): at a noisy clip x_s the student's velocity becomes
the teacher's guided one,

    loss = |v_student(x_s) - v_guided(x_s)|^2

`few-step` (progressive distillation, Salimans and Ho, arXiv:2202.00512, on the student's own path): the
student walks from noise with its own steps s_0 = 1 > s_1 > ... > s_k = 0. From a state x of that path at s_i
the teacher makes several small steps to y at s_(i+1), and the student's one velocity becomes the mean one,

    loss = |v_student(x, s_i) - (y - x) / (s_(i+1) - s_i)|^2

The states are those that the student meets when it is used, so that its errors do not add up unseen, and no
clips are needed. As in that paper, the teacher of 4 steps may be the student of 8: then it needs no guidance.

Legend: B batch, N target tokens, L D text context, C channels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from castsheet.ltx.adapters.lora import as_started, without
from castsheet.ltx.model.dit import Pass, Transformer
from castsheet.sampling.guidance import Weights, combine
from castsheet.train.objective import Given


@dataclass(frozen=True)
class Teacher:
    """The model without its trained adapter, with guidance; or an earlier student.

    Attributes:
        weights: of the passes. stg_blocks: those that the perturbed pass perturbs.
        negative_BLD: text context (1,L,D) of the negative prompt, if a pass reads it.
        student: the trained adapter counts with the values that it started from.
    """

    transformer: Transformer
    weights: Weights
    stg_blocks: Collection[int] = ()
    negative_BLD: Tensor | None = None
    student: bool = False

    @torch.no_grad()
    def velocity(self, given: Given, x_BNC: Tensor, sigma_B: Tensor) -> Tensor:
        """The guided velocity of the target's tokens at noise levels above 0, fp32 (B,N,C).

        Guidance is combined in x0 space, sample by sample, as in a run; see sampling/guidance.py.
        """
        video = given.stream(x_BNC, sigma_B)
        passes = {"cond": Pass(video)}
        if "uncond" in self.weights.scales and self.negative_BLD is not None:
            negative_BLD = self.negative_BLD.expand(len(x_BNC), -1, -1)
            passes["uncond"] = Pass(given.stream(x_BNC, sigma_B, negative_BLD))
        if "stg" in self.weights.scales:
            passes["stg"] = Pass(video, stg_blocks=self.stg_blocks)
        with as_started(self.transformer) if self.student else without(self.transformer):
            outputs = self.transformer.forward_passes(tuple(passes.values()), targets=given.tokens)
        if len(passes) == 1:
            return outputs[0].video_BTC.float()
        sigma_B11 = sigma_B.float()[:, None, None]
        share_BN1 = torch.where(given.given_mask, 0, sigma_B11)
        x0 = {
            name: x_BNC - share_BN1 * one.video_BTC.float() for name, one in zip(passes, outputs, strict=True)
        }
        guided = [
            combine({name: one[[sample]] for name, one in x0.items()}, self.weights, _row(given, sample))
            for sample in range(len(x_BNC))
        ]
        return (x_BNC - torch.cat(guided)) / sigma_B11


def guidance_losses(
    transformer: Transformer,
    teacher: Teacher,
    given: Given,
    sigma_B: Tensor,
    noise_BNC: Tensor,
    *,
    mask_BN: Tensor | None = None,
) -> Tensor:
    """Mean squared distance (B,) fp32 between the student's velocity and the teacher's guided one.

    Args:
        sigma_B: noise level of every sample, above 0. noise_BNC: standard normal, one draw a sample.
        mask_BN: see `Given.mean`.
    """
    x_BNC = given.noisy(sigma_B, noise_BNC)
    wanted_BNC = teacher.velocity(given, x_BNC, sigma_B)
    return given.mean((_student(transformer, given, x_BNC, sigma_B) - wanted_BNC).square(), mask_BN)


def few_step_losses(
    transformer: Transformer,
    teacher: Teacher,
    given: Given,
    noise_BNC: Tensor,
    levels: Tensor,
    place: int,
    *,
    substeps: int,
    mask_BN: Tensor | None = None,
) -> Tensor:
    """Mean squared distance (B,) fp32 between one step of the student and the teacher's steps in its place.

    Args:
        noise_BNC: the clips' start, standard normal.
        levels: the teacher's falling noise levels (k * substeps + 1) from 1 to 0, on the CPU. The student's
            are every `substeps`-th of them.
        place: the student's step that learns, from 0 to k - 1.
        mask_BN: see `Given.mean`.
    """
    x_BNC = given.kept(noise_BNC.float())
    with torch.no_grad():
        for one in range(place):
            x_BNC = _moved(given, x_BNC, levels, one * substeps, (one + 1) * substeps, transformer)
        y_BNC = x_BNC
        for one in range(place * substeps, (place + 1) * substeps):
            y_BNC = _moved(given, y_BNC, levels, one, one + 1, teacher)
    start, end = levels[place * substeps], levels[(place + 1) * substeps]
    wanted_BNC = (y_BNC - x_BNC) / float(end - start)
    sigma_B = start.to(x_BNC.device).expand(len(x_BNC))
    return given.mean((_student(transformer, given, x_BNC, sigma_B) - wanted_BNC).square(), mask_BN)


def _student(transformer: Transformer, given: Given, x_BNC: Tensor, sigma_B: Tensor) -> Tensor:
    return transformer(given.stream(x_BNC, sigma_B), targets=given.tokens).video_BTC.float()


def _moved(
    given: Given, x_BNC: Tensor, levels: Tensor, start: int, end: int, by: Teacher | Transformer
) -> Tensor:
    """The clips after one Euler step of the teacher or of the student."""
    sigma_B = levels[start].to(x_BNC.device).expand(len(x_BNC))
    if isinstance(by, Teacher):
        velocity_BNC = by.velocity(given, x_BNC, sigma_B)
    else:
        velocity_BNC = _student(by, given, x_BNC, sigma_B)
    return given.kept(x_BNC + float(levels[end] - levels[start]) * velocity_BNC)


def _row(given: Given, sample: int) -> Tensor | None:
    """A sample's reference tokens: they count in the spread that rescaling restores."""
    return None if given.reference_BRC is None else given.reference_BRC[[sample]]
