"""Mini's text encoder, taught on words alone whom they name, before the pictures: no story is rendered.

The denoiser has learnt from the contexts as they are. They are therefore held to what they were: what is new
in them may only come on top.

Legend: B batch, M prompts, N slots that prompts use, D width of a context.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.machine.processes import World
from mini.data.latents import LONGEST, real
from mini.data.naming import NOBODY, Naming, named
from mini.training.optimise import Budget, Log, mixed, optimise
from mini.training.train_flow import Models, sent

UNSEEN = 512


@dataclass(frozen=True)
class Words:
    """Tokenised prompts. See `Latents` for the fields; here they are (M,N), (M,) and (M,N)."""

    prompts: Tensor
    lengths: Tensor
    named: Tensor

    @classmethod
    def of(cls, texts: Iterable[str], encoder: GemmaEncoder) -> Words:
        """The prompts that name somebody in their action."""
        rows, told = list[list[int]](), list[list[int]]()
        for text in texts:
            who = named(text, encoder, LONGEST)
            if set(who) != {NOBODY}:
                rows.append(encoder.tokens(text, LONGEST))
                told.append(who)
        prompts = torch.tensor([[0] * (LONGEST - len(row)) + row for row in rows])
        padded = torch.tensor([who + [NOBODY] * (LONGEST - len(who)) for who in told])
        return cls(prompts, torch.tensor([len(row) for row in rows]), padded)

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, chosen: Tensor, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, mask and `named`, cut to the longest of the chosen prompts."""
        lengths = self.lengths[chosen]
        most = int(lengths.max())
        ids, mask = self.prompts[chosen, LONGEST - most :], real(lengths)[:, LONGEST - most :]
        return sent(ids, device), sent(mask, device), sent(self.named[chosen, :most], device)


def train_words(
    models: Models,
    words: Words,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 1e-3,
    unseen: int = UNSEEN,
) -> None:
    """Teach the text encoder and the connectors; the denoiser stays as it is.

    Args:
        unseen: how many of the last prompts are kept for the count.
    """
    device = str(where.device)
    naming = Naming(models.connectors.settings.widths[0]).to(device)
    before = Models(models.transformer, copy.deepcopy(models.gemma), copy.deepcopy(models.connectors))
    size = len(words) - unseen

    def loss(_: int) -> Tensor:
        chosen = torch.randint(size, (batch,))
        with mixed(device):
            ids, mask, told = words.batch(chosen, device)
            contexts = models.contexts(ids, mask)
            with torch.no_grad():
                earlier = before.contexts(ids, mask)
            return naming.loss(contexts[0], told) + sum(map(moved, contexts, earlier))

    optimise(
        [models.gemma.model, models.connectors, naming],
        loss,
        budget,
        rate=rate,
        log=log,
        name="words",
        muon=True,
        where=where,
    )
    share = known(models, words, naming, device, unseen)
    log(f"words of unseen prompts whose element is known: {100 * share:.1f} %")


def moved(now_BND: Tensor | None, before_BND: Tensor | None) -> Tensor:
    """How far contexts have moved: mean squared change in units of their mean square."""
    assert now_BND is not None  # mini has sound
    assert before_BND is not None
    wanted = before_BND.float()
    return (now_BND.float() - wanted).square().mean() / wanted.square().mean()


@torch.no_grad()
def known(models: Models, words: Words, naming: Naming, device: str, count: int) -> float:
    """The share of naming words in the last `count` prompts that are read rightly."""
    chosen = torch.arange(len(words) - count, len(words))
    shares = []
    for part in chosen.split(64):
        ids, mask, told = words.batch(part, device)
        with mixed(device):
            shares.append(naming.share(models.contexts(ids, mask)[0], told))
    return torch.stack(shares).mean().item()
