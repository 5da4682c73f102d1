"""How fast `castsheet pairs find` reads a film: `python -m mini.films.speed FILM --size 768x448`.

Prints CPU seconds of one core for each second of the film, for each of the three heavy stages, and how many
times faster than the film runs they are together. CPU seconds, because other programs may share the machine;
imports and the loading of networks are not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from castsheet.cli.settings import size
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.films import Source, opened
from castsheet.pairs.find import plates_of
from castsheet.pairs.ledger import Made
from castsheet.pairs.places import place_film
from castsheet.pairs.records import Clips, Film, PairsError
from castsheet.pairs.scan import cut_film, watch_shot
from castsheet.pairs.tools import faces_here, faces_of, reader_here, segmenter_here, segmenter_of, shots_of
from mini.script import finish


def timed(work: Callable[..., Made], *given: object) -> tuple[Made, float]:
    """What a stage makes, and the CPU seconds that it takes."""
    start = time.process_time()
    made = work(*given)
    return made, time.process_time() - start


def measure(film: Film, clips: Clips, shots: str) -> dict[str, float]:
    """CPU seconds for each second of a film, by stage."""
    eyes = Eyes("none", segmenter_here(), faces_here(), reader=reader_here())
    shots_of(shots)
    faces_of(eyes.faces)
    segmenter_of(eyes.segmenter)
    cut, cutting = timed(cut_film, film, shots)
    if "error" in cut.values:
        raise PairsError(str(cut.values["error"]), remedy="measure a film that can be read")
    spans, times = cut.values["shots"], cut.arrays["times"]
    placed, placing = timed(place_film, film, spans, eyes.faces)
    plates = plates_of(placed.values["plates"], placed.arrays)
    watching = 0.0
    for number, span in enumerate(spans):
        place = placed.values["places"][number]
        plate = None if place is None else plates.get(place["place"])
        given = (film, f"film-{number:04d}", span, times, clips, place, plate, eyes)
        watching += timed(watch_shot, *given)[1]
    seconds = float(times[-1])
    return {"cut": cutting / seconds, "place": placing / seconds, "watch": watching / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("film", type=Path)
    parser.add_argument("--size", default="768x448", help="of the clips")
    parser.add_argument("--shots", default="plain-1")
    options = parser.parse_args()
    clips = Clips(*size(options.size))
    film = opened(Source(options.film, "film", "CC0-1.0", "", "", "synthetic", False), clips.size)
    if not isinstance(film, Film):
        raise PairsError(
            f"{options.film}: {film.rule} {film.value}", remedy="measure a film that can be used"
        )
    found = measure(film, clips, options.shots)
    for name, cost in found.items():
        print(f"{name}: {cost:.3f} CPU s for a second of film")
    print(f"{1 / sum(found.values()):.2f} times as fast as the film, on one core")


if __name__ == "__main__":
    finish(main)
