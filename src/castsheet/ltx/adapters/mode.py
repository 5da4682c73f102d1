"""How a run shows the model its reference, and how an adapter was shown it in training. No torch.

"looped" is a still video of the clip's length; published adapters were trained on it without stating it.
"still" is ONE latent frame at the first frame's positions.
"""

from __future__ import annotations

from typing import Literal, get_args

ReferenceMode = Literal["looped", "still"]
MODES: tuple[ReferenceMode, ...] = get_args(ReferenceMode)
