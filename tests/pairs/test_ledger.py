"""Results on disk, made by processes that may die."""

from __future__ import annotations

import time

import pytest

from castsheet.pairs.ledger import DEATHS, Ledger, Task
from castsheet.pairs.pools import pool_of
from tests.doubles.deadly import square


def _tasks(folder, deadly=()):
    return [Task("squares", f"unit {n}", [1, n], square, (n, str(folder), n in deadly)) for n in range(6)]


@pytest.fixture(scope="module", autouse=True)
def no_ray_stays():
    """Ray stays until its process ends; other tests start it in their own way."""
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def runs(tmp_path):
    """A folder in which the work counts its runs."""
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.mark.parametrize("pool", [pool_of(2), pool_of(2, "local")], ids=["processes", "ray"])
def test_processes_make_what_one_makes(tmp_path, runs, pool):
    """Red: results depend on how many processes made them."""
    one, two = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    one.run(_tasks(runs), None)
    two.run(_tasks(runs), pool)
    files = sorted(path.relative_to(one.folder) for path in one.folder.rglob("*") if path.suffix)
    assert len(files) == 12
    for path in files:
        assert (one.folder / path).read_bytes() == (two.folder / path).read_bytes()


def test_no_process_waits_while_a_result_is_written(runs):
    """Red: the next unit is not begun before the result of the last one is on the disk."""
    pool = pool_of(1)
    assert pool is not None
    results = pool(_tasks(runs)[:2])
    first, _ = next(results)
    assert first.unit == "unit 0"
    deadline = time.monotonic() + 120
    while not (runs / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (runs / "1").exists()
    assert [task.unit for task, _ in results] == ["unit 1"]


@pytest.mark.parametrize("pool", [pool_of(2), pool_of(2, "local")], ids=["processes", "ray"])
def test_a_unit_that_kills_is_quarantined_and_the_others_are_made(tmp_path, runs, pool):
    """Red: one unit that ends its process takes others with it, or is tried for ever."""
    ledger = Ledger(tmp_path / "results")
    found = ledger.run(_tasks(runs, deadly={3}), pool)
    assert found["unit 3"] is None
    assert [found[f"unit {n}"].values["square"] for n in (0, 1, 2, 4, 5)] == [0, 1, 4, 16, 25]
    assert found["unit 4"].arrays()["row"].tolist() == [0, 1, 2, 3]
    tried = len((runs / "3").read_text())
    assert tried >= DEATHS
    # It stays quarantined, and nothing is made twice.
    again = ledger.run(_tasks(runs, deadly={3}), pool)
    assert again["unit 3"] is None
    assert len((runs / "3").read_text()) == tried
    assert len((runs / "5").read_text()) <= 2
