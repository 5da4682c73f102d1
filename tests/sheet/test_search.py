"""The exact search over partitions, and the bound on what any of them could reach."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castsheet.sheet.box import Box
from castsheet.sheet.plan.layout import plan
from castsheet.sheet.plan.search import Cut, FixedTree, Leaf, Slicing, Tree, quantised
from tests.sheet.test_layout import cast


def brute_force(value_IXY: np.ndarray, items: frozenset[int], w: int, h: int, grant: int = 0) -> float:
    """Best value over every guillotine partition, by plain recursion."""
    if len(items) == 1:
        return float(value_IXY[min(items), w, h]) if w and h else -math.inf
    best, low = -math.inf, min(items)
    others = sorted(items - {low})
    for count in range(len(others)):
        for chosen in itertools.combinations(others, count):
            one = frozenset((low, *chosen))
            rest = items - one
            for k in range(1, w + grant):
                first = brute_force(value_IXY, one, k, h, grant)
                best = max(best, first + brute_force(value_IXY, rest, w + grant - k, h, grant))
            for k in range(1, h + grant):
                first = brute_force(value_IXY, one, w, k, grant)
                best = max(best, first + brute_force(value_IXY, rest, w, h + grant - k, grant))
    return best


def value_of(tree: Tree, value_IXY: np.ndarray, w: int, h: int) -> float:
    if isinstance(tree, Leaf):
        return float(value_IXY[tree.item, w, h])
    assert tree.size == (w if tree.axis == "x" else h)
    if tree.axis == "x":
        return value_of(tree.first, value_IXY, tree.at, h) + value_of(tree.second, value_IXY, w - tree.at, h)
    return value_of(tree.first, value_IXY, w, tree.at) + value_of(tree.second, value_IXY, w, h - tree.at)


def leaves(tree: Tree) -> list[int]:
    return [tree.item] if isinstance(tree, Leaf) else [*leaves(tree.first), *leaves(tree.second)]


def rising(seed: int, items: int, width: int, height: int) -> np.ndarray:
    """Random values that never fall with the room, multiples of the search's quantum: sums are exact."""
    steps = np.random.default_rng(seed).integers(0, 4096, (items, width + 1, height + 1)) / 1024
    return steps.cumsum(axis=1).cumsum(axis=2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 4), st.integers(2, 4))
def test_search_is_exact(seed: int, items: int, width: int, height: int) -> None:
    """Red: the dynamic programme misses a better plan, or returns one that is worth less than it says."""
    value_IXY = rising(seed, items, width, height)
    search, every = Slicing(value_IXY), (1 << items) - 1
    found = search.value(every, width, height)
    assert found == brute_force(value_IXY, frozenset(range(items)), width, height)
    if found == -math.inf:
        return
    tree = search.tree(every, width, height)
    assert sorted(leaves(tree)) == list(range(items))
    assert value_of(tree, value_IXY, width, height) == found
    # With its tree given, the best cuts are the same.
    again = FixedTree(tree, value_IXY).best()
    assert again is not None
    assert value_of(again, value_IXY, width, height) == found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(3, 6))
def test_the_bound_holds_off_the_lattice(seed: int, items: int, units: int) -> None:
    """Red: a sheet is called optimal although a partition between the lattice's lines is better."""
    fine = 4 * units
    value_IXY = rising(seed, items, fine, fine)
    every = (1 << items) - 1
    best = Slicing(value_IXY).value(every, fine, fine)
    bound = Slicing(value_IXY[:, ::4, ::4], grant=1).value(every, units, units)
    assert bound >= best
    assert bound >= Slicing(value_IXY[:, ::4, ::4]).value(every, units, units)


def test_trees_do_not_depend_on_float_noise() -> None:
    """Red: two machines, whose logarithms differ in the last bit, lay out different sheets."""
    value_IXY = np.log1p(rising(1, 3, 12, 7))
    assert (quantised(value_IXY) == quantised(value_IXY * (1 + 1e-12))).all()
    tree = Slicing(value_IXY).tree(7, 12, 7)
    assert isinstance(tree, Cut)
    assert tree == Slicing(value_IXY * (1 + 1e-12)).tree(7, 12, 7)


@pytest.mark.parametrize(
    ("seed", "output"), [(11, (768, 448)), (18, (768, 448)), (27, (512, 512)), (30, (448, 768))]
)
def test_no_latent_cell_is_a_mixture_of_two_elements(seed: int, output: tuple[int, int]) -> None:
    """Red: the planner keeps a plan with mixed cells, of which S07 warns, though one on latent edges is worth
    nearly as much."""
    layout, wanted = plan(cast(seed), output=output), cast(seed)
    for (a, one), (b, other) in itertools.combinations(zip(layout.boxes, wanted, strict=True), 2):
        if one.element == other.element:
            continue
        for x, y in itertools.product(range(0, layout.canvas[0], 64), range(0, layout.canvas[1], 64)):
            square = Box(x, y, 64, 64)
            assert min(a.shared(square), b.shared(square)) < 0.25 * square.area
