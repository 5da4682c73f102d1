"""Takes side by side on a page: their videos start, stop and move together. No torch."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

TONES = {"carried": "good", "cannot tell": "unsure", "not carried": "bad"}

STYLE = """
.lockstep { margin:10px 0 } .lockstep .bar { display:flex; gap:10px; align-items:center; margin:8px 0 }
.lockstep input[type=range] { flex:1 } .lockstep button { font:inherit; padding:2px 14px }
.takes { display:grid; grid-template-columns:repeat(auto-fill,minmax(220px,1fr)); gap:12px }
.takes video { width:100%; display:block; background:#000 } .takes .kept { outline:2px solid var(--good) }
"""

# The first video leads; the others are set to its time when they are more than two frames away from it.
SCRIPT = """<script>
document.querySelectorAll('.lockstep').forEach(group => {
  const clips = [...group.querySelectorAll('video')], lead = clips[0];
  const bar = group.querySelector('input'), button = group.querySelector('button');
  const seek = time => clips.forEach(clip => { clip.currentTime = time; });
  button.onclick = () => {
    const start = lead.paused;
    seek(lead.currentTime);
    clips.forEach(clip => start ? clip.play() : clip.pause());
    button.textContent = start ? 'Stop' : 'Play together';
  };
  bar.oninput = () => { if (lead.duration) seek(bar.value / 1000 * lead.duration); };
  clips.forEach(clip => clip.onclick = () => clips.forEach(one => { one.muted = one !== clip; }));
  const follow = () => {
    if (!lead.paused && lead.duration) {
      bar.value = 1000 * lead.currentTime / lead.duration;
      clips.slice(1).forEach(clip => {
        if (Math.abs(clip.currentTime - lead.currentTime) > 0.08) clip.currentTime = lead.currentTime;
      });
    }
    requestAnimationFrame(follow);
  };
  follow();
});
</script>"""


@dataclass(frozen=True)
class Shown:
    """A take on a page.

    Attributes:
        video, judgement: paths relative to the page.
        kept: whether it is the take that was kept.
    """

    seed: int
    video: str
    judgement: str
    state: str
    score: float
    verdict: str
    kept: bool


def lockstep(takes: Sequence[Shown]) -> str:
    """The takes' HTML. A page that has it ends with `SCRIPT`, once."""
    return (
        '<div class="lockstep"><div class="bar"><button>Play together</button>'
        '<input type="range" min="0" max="1000" value="0" aria-label="time"></div>'
        f'<div class="takes">{"".join(map(_take, takes))}</div>'
        '<p class="dim">A click on a take gives its sound.</p></div>'
    )


def _take(one: Shown) -> str:
    tone, kept = TONES.get(one.state, ""), ' class="kept"' if one.kept else ""
    return (
        f'<div><video{kept} src="{html.escape(one.video)}" loop muted playsinline preload="auto"></video>'
        f"<p>seed {one.seed}{', kept' if one.kept else ''}, score {one.score:.3f}: "
        f'<span class="{tone}">{html.escape(one.verdict)}</span></p>'
        f'<p><a href="{html.escape(one.judgement)}">judgement</a></p></div>'
    )
