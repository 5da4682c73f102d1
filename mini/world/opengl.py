"""OpenGL without a display: moderngl through EGL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from castsheet.errors import DependencyError
from castsheet.machine.files import require

if TYPE_CHECKING:
    import moderngl


def open_context() -> moderngl.Context:
    """A new context on the driver's first card.

    Raises:
        DependencyError: moderngl or an EGL driver is missing, or the driver does not work.
    """
    gl = require("moderngl", "mini")
    try:
        context: moderngl.Context = gl.create_context(standalone=True, backend="egl")
    except Exception as error:  # glcontext raises plain ones where a driver is there and cannot begin
        raise DependencyError(
            f"no OpenGL through EGL here: {error}",
            remedy="install a driver: apt-get install libegl1 libgl1-mesa-dri",
        ) from error
    return context
