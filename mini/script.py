"""How mini's scripts end: an error that a user can mend is one message and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from castsheet.errors import CastsheetError


def finish(work: Callable[[], Any]) -> None:
    """Do the work, and exit as the command line does."""
    try:
        work()
    except CastsheetError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
