"""Pictures of the world through OpenGL (moderngl, EGL: no display is needed; software drivers do)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mini.world.body import MATRICES, Part, Pose, pose_matrices
from mini.world.mesh import Actor
from mini.world.opengl import open_context

if TYPE_CHECKING:
    import moderngl

# Part numbers and the matrix count become names of the shaders.
_HEAD = "#version 330\n" + "".join(f"#define {part.name} {part.value}\n" for part in Part)

VERTEX = (
    _HEAD
    + f"#define MATRICES {MATRICES}\n"
    + """
layout(std140) uniform Bones { mat4 bones[MATRICES]; };
uniform vec4 view;      // centre x, centre z, half width, half height (metres)
in vec3 position; in vec4 bone; in vec4 weight;
out vec3 world; out vec3 rest;
void main() {
    mat4 m = weight.x * bones[int(bone.x)] + weight.y * bones[int(bone.y)]
           + weight.z * bones[int(bone.z)] + weight.w * bones[int(bone.w)];
    world = (m * vec4(position, 1.0)).xyz;
    rest = position;
    gl_Position = vec4((world.x - view.x) / view.z, (world.z - view.y) / view.w, world.y / 8.0, 1.0);
}
"""
)

FRAGMENT = (
    _HEAD
    + """
uniform usampler2D parts;   // part of every triangle, 256 a row
uniform vec3 palette[16];
uniform vec3 second;        // second colour of the chest's pattern
uniform vec3 lines;         // heights of belt, collar and knee at rest
uniform int pattern;        // 0 plain, 1 stripes, 2 band, 3 halves
uniform int mode;           // 0 picture, 1 part numbers
uniform int hidden;         // bit mask of parts that are not drawn
in vec3 world; in vec3 rest;
out vec4 colour;
void main() {
    int part = int(texelFetch(parts, ivec2(gl_PrimitiveID % 256, gl_PrimitiveID / 256), 0).r);
    if (part == CHEST) part = rest.z < lines.x ? HIPS : rest.z > lines.y ? SKIN : part;
    if (part == HIPS && rest.z < lines.z) part = SHIN;
    if ((hidden >> part & 1) == 1) discard;
    if (mode == 1) { colour = vec4(float(part) / 255.0, 0.0, 0.0, 1.0); return; }
    vec3 base = palette[part];
    float up = (rest.z - lines.x) / (lines.y - lines.x);
    if (part == CHEST || (part == SLEEVE && pattern == 1)) {
        bool other = pattern == 1 ? fract(up * 3.5) > 0.5 : pattern == 2 ? abs(up - 0.5) < 0.2
                   : pattern == 3 ? rest.x > 0.0 : false;
        if (other) base = second;
    }
    vec3 normal = normalize(cross(dFdx(world), dFdy(world)));
    float light = 0.74 + 0.26 * max(dot(normal, normalize(vec3(-0.35, -0.75, 0.55))), 0.0);
    colour = part == SHADOW ? vec4(0.0, 0.0, 0.0, 0.28) : vec4(base * light, 1.0);
}
"""
)

BACKDROP_VERTEX = """
#version 330
out vec2 at;
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
    at = vec2(corner.x, 1.0 - corner.y);
    gl_Position = vec4(corner * 2.0 - 1.0, 0.9999, 1.0);
}
"""
BACKDROP_FRAGMENT = """
#version 330
uniform sampler2D picture;
in vec2 at; out vec4 colour;
void main() { colour = vec4(texture(picture, at).rgb, 1.0); }
"""

_STRIDE = -(-MATRICES * 64 // 256) * 256  # bytes of a frame's matrices; OpenGL wants multiples of 256
_ATLAS = 2400  # px: how large the picture may get into which frames are drawn side by side

PATTERN_NUMBER = {"plain": 0, "stripes": 1, "band": 2, "halves": 3}
PROP_PARTS = (Part.PROP, Part.PROP_TRIM)
PERSON_PARTS = tuple(part for part in Part if part not in (*PROP_PARTS, Part.SHADOW))


@dataclass(frozen=True)
class Camera:
    """An orthographic view along +y: centre (x, z) and height, metres."""

    x: float
    z: float
    height: float


CLIP_VIEW = Camera(0.0, 1.04, 2.4)  # a grown-up fills three quarters of the frame, a jump still fits


class Renderer:
    """Draws actors. One a process; holds one actor and one backdrop at a time.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
    """

    def __init__(self, *, samples: int = 4) -> None:
        self.context = open_context()
        context = self.context
        self._program = context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._backdrop_program = context.program(
            vertex_shader=BACKDROP_VERTEX, fragment_shader=BACKDROP_FRAGMENT
        )
        self._backdrop_array = context.vertex_array(self._backdrop_program, [])
        self._bones = context.buffer(reserve=_STRIDE, dynamic=True)
        self._program["Bones"].binding = 0
        self._samples = samples
        self._targets: dict[tuple[int, int], tuple[moderngl.Framebuffer, moderngl.Framebuffer]] = {}
        self._backdrop: moderngl.Texture | None = None
        self._array: moderngl.VertexArray | None = None
        self._actor: Actor | None = None

    def set_actor(self, actor: Actor) -> None:
        """Upload one identity's triangles and looks."""
        context, look = self.context, actor.look
        for held in (self._array, getattr(self, "_buffers", None), getattr(self, "_parts", None)):
            for item in held if isinstance(held, list) else [held]:
                if item is not None:
                    item.release()
        vertices = np.concatenate([actor.vertices, actor.bones, actor.weights], 1).astype(np.float32)
        self._buffers = [
            context.buffer(vertices.tobytes()),
            context.buffer(actor.faces.astype(np.int32).tobytes()),
        ]
        self._array = context.vertex_array(
            self._program, [(self._buffers[0], "3f 4f 4f", "position", "bone", "weight")], self._buffers[1]
        )
        rows = -(-len(actor.parts) // 256)
        parts = np.zeros(rows * 256, np.uint8)
        parts[: len(actor.parts)] = actor.parts
        self._parts = context.texture((256, rows), 1, parts.tobytes(), dtype="u1")
        self._program["palette"].write(look.palette().tobytes())
        self._program["second"].value = look.top_second
        self._program["lines"].value = actor.lines
        self._program["pattern"].value = PATTERN_NUMBER[look.pattern]
        self._actor = actor

    def set_backdrop(self, picture: NDArray[np.uint8] | None) -> None:
        """Use a picture (H, W, 3) as background; None is black, and transparent in `alpha` frames."""
        if self._backdrop is not None:
            self._backdrop.release()
            self._backdrop = None
        if picture is not None:
            self._backdrop = self.context.texture((picture.shape[1], picture.shape[0]), 3, picture.tobytes())

    def frames(
        self,
        poses: Sequence[Pose],
        size: tuple[int, int],
        view: Camera = CLIP_VIEW,
        *,
        hide: tuple[Part, ...] = (),
        masks: bool = False,
    ) -> NDArray[np.uint8]:
        """Draw poses: RGBA (F, H, W, 4), or with `masks` the part number of every pixel (F, H, W).

        `size` is (width, height) in px.

        The part number is 255 where there is no person and no prop.
        """
        if self._actor is None:
            raise ValueError("set_actor first")
        matrices = pose_matrices(self._actor.heads, poses).swapaxes(2, 3)
        (width, height), half = size, view.height / 2
        hidden = (*hide, Part.SHADOW) if masks else hide
        self._program["view"].value = (view.x, view.z, half * width / height, half)
        self._program["hidden"].value = sum(1 << int(part) for part in hidden)
        self._program["mode"].value = int(masks)
        columns = max(1, _ATLAS // width)
        at_once = columns * max(1, _ATLAS // height)
        parts = [
            self._atlas(matrices[start : start + at_once], size, columns, masks=masks)
            for start in range(0, len(poses), at_once)
        ]
        return np.concatenate(parts)

    def _atlas(
        self, matrices: NDArray[np.float32], size: tuple[int, int], columns: int, *, masks: bool
    ) -> NDArray[np.uint8]:
        """Draw frames side by side into one picture and read it once: reading back is what costs time."""
        (width, height), count = size, len(matrices)
        columns = min(columns, count)
        rows = -(-count // columns)
        smooth, plain = self._target((columns * width, rows * height))
        padded = np.zeros((count, _STRIDE // 4), np.float32)
        padded[:, : MATRICES * 16] = matrices.reshape(count, -1)
        self._bones.orphan(count * _STRIDE)
        self._bones.write(padded)
        target = plain if masks else smooth
        target.use()
        self.context.clear(float(masks), 0.0, 0.0, 0.0, depth=1.0)
        for frame in range(count):
            row, column = divmod(frame, columns)
            # OpenGL counts rows from below; the picture is turned over when it is read.
            target.viewport = (column * width, (rows - 1 - row) * height, width, height)
            self._bones.bind_to_uniform_block(0, offset=frame * _STRIDE, size=MATRICES * 64)
            self._draw(masks=masks)
        target.viewport = (0, 0, columns * width, rows * height)
        if not masks:
            self.context.copy_framebuffer(plain, smooth)
        channels = 1 if masks else 4
        data = np.frombuffer(plain.read(components=channels, alignment=1), np.uint8)
        picture = data.reshape(rows * height, columns * width, channels)[::-1]
        cells = picture.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
        frames = np.ascontiguousarray(cells).reshape(rows * columns, height, width, channels)[:count]
        return frames[..., 0] if masks else frames

    def _target(self, size: tuple[int, int]) -> tuple[moderngl.Framebuffer, moderngl.Framebuffer]:
        """A multisampled framebuffer and the plain one that it resolves to."""
        if size not in self._targets:
            make = self.context
            smooth = make.framebuffer(
                [make.renderbuffer(size, 4, samples=self._samples)],
                make.depth_renderbuffer(size, samples=self._samples),
            )
            plain = make.framebuffer([make.renderbuffer(size, 4)], make.depth_renderbuffer(size))
            self._targets[size] = smooth, plain
        return self._targets[size]

    def _draw(self, *, masks: bool) -> None:
        """Backdrop and actor into the current viewport."""
        context, array = self.context, self._array
        assert array is not None
        context.disable(context.BLEND)
        context.disable(context.DEPTH_TEST)
        if self._backdrop is not None and not masks:
            self._backdrop.use(0)
            self._backdrop_array.render(context.TRIANGLES, vertices=3)
        context.enable(context.DEPTH_TEST)
        if not masks:
            # Colours blend by alpha (the shadow); the picture's own alpha stays the cover.
            context.enable(context.BLEND)
            context.blend_func = (
                context.SRC_ALPHA,
                context.ONE_MINUS_SRC_ALPHA,
                context.ONE,
                context.ONE_MINUS_SRC_ALPHA,
            )
        self._parts.use(0)
        array.render(context.TRIANGLES)
