"""Lines that native libraries print."""

from __future__ import annotations

import os

import pytest

from castsheet.machine.notices import without_notices


def test_only_the_notices_are_dropped(capfd):
    """Red: users see lines of a library that mean nothing to them, or an error is dropped with them."""
    with without_notices("INFO: "):
        os.write(2, b"INFO: Created a delegate.\nERROR: no memory\n")
    os.write(2, b"INFO: ours\n")
    assert capfd.readouterr().err == "ERROR: no memory\nINFO: ours\n"


def test_an_exception_passes_and_the_stream_is_back(capfd):
    """Red: a network that cannot be read leaves the terminal mute."""

    def read() -> None:
        with without_notices("INFO: "):
            os.write(2, b"why it is broken\n")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        read()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "why it is broken\nafter\n"
