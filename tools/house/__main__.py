"""Count the house, and draw it.

python -m tools.house                      # this tree
python -m tools.house --against 42f3a91    # beside a revision
python -m tools.house --wheel              # with the wheel, built by pip
python -m tools.house --faults             # what breaks the rules, one line each
python -m tools.house --draw               # docs/architecture.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.house.code import Tree
from tools.house.counts import counts, extract, faults, table
from tools.house.picture import draw

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "architecture.svg"


def main() -> int:
    """Print the table, or what was asked for; 1 where rules are broken and asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.house", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", metavar="REV", help="a git revision to stand beside this tree")
    parser.add_argument("--wheel", action="store_true", help="build the wheel and say how large it is")
    parser.add_argument("--faults", action="store_true", help="print what breaks the rules")
    parser.add_argument("--draw", action="store_true", help="write docs/architecture.svg")
    chosen = parser.parse_args()
    here = Tree(ROOT)
    if chosen.draw:
        try:
            drawn = draw(here)
        except ValueError as error:
            parser.exit(1, f"nothing is drawn: {error}\n")
        PICTURE.write_text(drawn, encoding="utf-8")
        print(PICTURE.relative_to(ROOT))
        return 0
    if chosen.faults:
        found = faults(here)
        print("\n".join(found) or "none")
        return int(bool(found))
    columns = {}
    if chosen.against:
        with TemporaryDirectory() as folder:
            before = extract(ROOT, chosen.against, Path(folder))
            columns[chosen.against] = counts(before, wheel=chosen.wheel)
    columns["this tree"] = counts(here, wheel=chosen.wheel)
    print(table(columns))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
