"""What an adapter is trained on: the bare base, or the model with its own adapters."""

from __future__ import annotations

from castsheet.errors import SettingsError
from castsheet.loading.source import Source
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.settings import override
from castsheet.train.config import Config


def ground(source: Source, config: Config) -> list[tuple[LoRA, float]]:
    """The adapters that lie under the trained one, with their strengths; none for the bare base.

    Raises:
        SettingsError: the run trains on top of adapters, and the model has none of its own.
    """
    if not config.adapter.on_top:
        return []
    settings = override(source.settings(), {"reference": config.objective.reference})
    own = source.adapters_in(settings)
    if not own:
        raise SettingsError(
            f"adapter.on_top: {source.name} has no adapters of its own",
            remedy="leave on_top out, or name a bundle's folder as the model",
        )
    return [(one.lora, one.strength_in(settings)) for one in own]
