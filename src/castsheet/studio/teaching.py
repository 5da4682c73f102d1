"""Training in the queue: pairs become a set, a run's file becomes an adapter. In the worker only."""

from __future__ import annotations

from rich.console import Console

from castsheet.loading.options import Loading
from castsheet.loading.source import Source
from castsheet.settings import preset
from castsheet.studio.desk import Desk, Stopped
from castsheet.studio.folder import Folder
from castsheet.studio.job import Job
from castsheet.train.config import load_config
from castsheet.train.data.augment import Augment
from castsheet.train.data.encode import Encoding, SizeBucket, encode, read_table
from castsheet.train.trainer import train


def encode_pairs(folder: Folder, job: Job, model: str, loading: Loading, desk: Desk) -> str:
    """Encode a part of a result of pairs for the studio's model; the set's name. Samples that are there stay.

    Raises:
        Stopped: the work is to end; a later job goes on.
        CastsheetError: a clip, a sheet or the model cannot be used.
    """
    name, part = str(job.request["set"]), job.request["part"]
    rows = read_table(folder.pairs_of(job.request["pairs"]) / f"{part}.csv")
    source = Source.open(model)
    usual = preset("card") if source.bundle is None else source.bundle.settings(None)
    bucket = SizeBucket(usual.width, usual.height, usual.frames, usual.fps)
    encoding = Encoding(source, folder.new_set(name), bucket, Augment(1, 0.0, 0.0, 0), device=loading.device)
    with desk.working(f"encoding {name}", len(rows)) as advance:
        encode(rows, encoding, advance=advance)
    return name


def train_run(folder: Folder, job: Job, loading: Loading, desk: Desk) -> str:
    """Train a run, or go on from its newest checkpoint; its name.

    Raises:
        Stopped: the work is to end; a checkpoint was written.
        CastsheetError: the run cannot be trained.
    """
    name = str(job.request["run"])
    config = load_config(folder.run(name), {"device": loading.device})
    with desk.working(f"training {name}", config.steps):
        try:
            train(config, Console(stderr=True), news=desk.stands)
        except SystemExit as error:  # how training ends after a checkpoint that it was asked for
            raise Stopped from error
    return name
