"""Pictures of several figures through OpenGL (moderngl, EGL: no display is needed; software drivers do)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mini.story.figure import Figure
from mini.story.look import PARTS, Part
from mini.story.skeleton import MATRICES
from mini.world.body import Array
from mini.world.opengl import open_context

if TYPE_CHECKING:
    import moderngl

_HEAD = "#version 330\n" + "".join(f"#define {part.name} {part.value}\n" for part in Part)
VERTEX = (
    _HEAD
    + f"#define MATRICES {MATRICES}\n"
    + """
layout(std140) uniform Bones { mat4 bones[MATRICES]; };
uniform vec4 view;      // centre x, centre height, half width, half height (metres)
uniform vec2 tilt;      // cosine and sine of the camera's downward tilt
in vec3 position; in vec3 direction; in vec4 bone; in vec4 weight;
out vec3 normal; out vec3 rest;
void main() {
    mat4 m = weight.x * bones[int(bone.x)] + weight.y * bones[int(bone.y)]
           + weight.z * bones[int(bone.z)] + weight.w * bones[int(bone.w)];
    vec3 world = (m * vec4(position, 1.0)).xyz;
    normal = mat3(m) * direction;
    rest = position;
    float up = tilt.x * world.z + tilt.y * world.y;
    float away = tilt.x * world.y - tilt.y * world.z;
    gl_Position = vec4((world.x - view.x) / view.z, (up - view.y) / view.w, away / 8.0, 1.0);
}
"""
)
FRAGMENT = (
    _HEAD
    + f"#define PARTS {PARTS}\n"
    + """
uniform usampler2D parts;   // part of every triangle, 256 a row
uniform vec3 palette[PARTS];
uniform vec3 second;        // second colour of the chest's pattern
uniform vec3 lines;         // heights of belt, collar and knee at rest
uniform int pattern;        // 0 plain, 1 stripes, 2 band, 3 halves
uniform int entity;         // 0 in a picture; else the number that the mask gets
uniform int shadows;
in vec3 normal; in vec3 rest;
out vec4 colour;
void main() {
    int part = int(texelFetch(parts, ivec2(gl_PrimitiveID % 256, gl_PrimitiveID / 256), 0).r);
    if (part == SHADOW && (shadows == 0 || entity > 0)) discard;
    if (part == CHEST) part = rest.z < lines.x ? HIPS : rest.z > lines.y ? SKIN : part;
    if (part == HIPS && rest.z < lines.z) part = SHIN;
    if (entity > 0) { colour = vec4(float(part), float(entity), 0.0, 255.0) / 255.0; return; }
    if (part == SHADOW) { colour = vec4(0.0, 0.0, 0.0, 0.30); return; }
    vec3 base = palette[part];
    float up = (rest.z - lines.x) / (lines.y - lines.x);
    if (part == CHEST || (part == SLEEVE && pattern == 1)) {
        bool other = pattern == 1 ? fract(up * 3.5) > 0.5 : pattern == 2 ? abs(up - 0.5) < 0.2
                   : pattern == 3 ? rest.x > 0.0 : false;
        if (other) base = second;
    }
    float light = 0.70 + 0.30 * max(dot(normalize(normal), normalize(vec3(-0.35, -0.75, 0.55))), 0.0);
    colour = vec4(base * light, 1.0);
}
"""
)
BACKDROP_VERTEX = """
#version 330
uniform vec4 window;    // left, top, width, height, shares of the picture
out vec2 at;
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
    at = window.xy + vec2(corner.x, 1.0 - corner.y) * window.zw;
    gl_Position = vec4(corner * 2.0 - 1.0, 0.9999, 1.0);
}
"""
BACKDROP_FRAGMENT = """
#version 330
uniform sampler2D picture;
in vec2 at; out vec4 colour;
void main() { colour = vec4(texture(picture, at).rgb, 1.0); }
"""
Window = tuple[float, float, float, float]  # left, top, width, height, as shares of a picture
_STRIDE = -(-MATRICES * 64 // 256) * 256  # bytes of a frame's matrices; OpenGL wants multiples of 256
_PATTERNS = {"plain": 0, "stripes": 1, "band": 2, "halves": 3}


@dataclass(frozen=True)
class Camera:
    """An orthographic view: centre (x, height) and height in metres, downward tilt in radians."""

    x: float
    z: float
    height: float
    tilt: float = 0.0


@dataclass(frozen=True)
class Played:
    """A figure and its skinning matrices (F, K, 4, 4), K at most 105."""

    figure: Figure
    matrices: Array


@dataclass
class _Uploaded:
    array: moderngl.VertexArray
    parts: moderngl.Texture
    held: list[moderngl.Buffer] = field(default_factory=list)

    def release(self) -> None:
        for item in (self.array, self.parts, *self.held):
            item.release()


class _Frames:
    """Frames on the graphics card, fetched together: a process that waits for each one waits far longer."""

    def __init__(self, context: moderngl.Context, count: int, size: tuple[int, int], components: int) -> None:
        self._shape = count, size[1], size[0], components
        self._bytes = size[1] * size[0] * components
        self._buffer = context.buffer(reserve=count * self._bytes)

    def take(self, target: moderngl.Framebuffer, frame: int) -> None:
        """Keep what a framebuffer shows now."""
        components = self._shape[-1]
        target.read_into(self._buffer, components=components, alignment=1, write_offset=frame * self._bytes)

    def read(self) -> NDArray[np.uint8]:
        """All frames (F, H, W, C), their upper rows first; they are no longer on the card then."""
        data = np.frombuffer(self._buffer.read(), np.uint8).reshape(self._shape)
        self._buffer.release()
        return np.ascontiguousarray(data[:, ::-1])


class Renderer:
    """Draws clips. One a process.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
    """

    def __init__(self, *, samples: int = 4) -> None:
        self.context = open_context()
        make = self.context
        self._program = make.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._backdrop_program = make.program(
            vertex_shader=BACKDROP_VERTEX, fragment_shader=BACKDROP_FRAGMENT
        )
        self._backdrop_array = make.vertex_array(self._backdrop_program, [])
        self._bones = make.buffer(reserve=_STRIDE, dynamic=True)
        self._program["Bones"].binding = 0
        self._samples = samples
        self._targets: dict[tuple[int, int], tuple[moderngl.Framebuffer, moderngl.Framebuffer]] = {}

    def picture(
        self,
        played: Sequence[Played],
        cameras: Sequence[Camera],
        size: tuple[int, int],
        *,
        backdrop: NDArray[np.uint8] | None = None,
        windows: Sequence[Window] | None = None,
        shadows: bool = True,
    ) -> NDArray[np.uint8]:
        """Frames RGBA (F, H, W, 4); without a backdrop the ground is transparent black.

        Args:
            cameras: one a frame. size: width and height, px. backdrop: (H, W, 3).
            windows: what each frame shows of the backdrop; all of it by default.
        """
        smooth, plain = self._target(size)
        frames = _Frames(self.context, len(cameras), size, 4)
        uploaded = [self._upload(one.figure) for one in played]
        texture = None
        if backdrop is not None:
            shape = (backdrop.shape[1], backdrop.shape[0])
            texture = self.context.texture(shape, 3, np.ascontiguousarray(backdrop).tobytes(), alignment=1)
        for frame, camera in enumerate(cameras):
            smooth.use()
            self.context.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
            if texture is not None:
                self._draw_backdrop(texture, (0.0, 0.0, 1.0, 1.0) if windows is None else windows[frame])
            self._draw(played, uploaded, frame, camera, size, shadows=shadows, masks=False)
            self.context.copy_framebuffer(plain, smooth)
            frames.take(plain, frame)
        for item in [*uploaded, *([texture] if texture is not None else [])]:
            item.release()
        return frames.read()

    def masks(
        self, played: Sequence[Played], cameras: Sequence[Camera], size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Part numbers and figure numbers (F, H, W) of every pixel; the first figure is 1, 0 is nobody."""
        _, plain = self._target(size)
        frames = _Frames(self.context, len(cameras), size, 2)
        uploaded = [self._upload(one.figure) for one in played]
        for frame, camera in enumerate(cameras):
            plain.use()
            self.context.clear(1.0, 0.0, 0.0, 0.0, depth=1.0)
            self._draw(played, uploaded, frame, camera, size, shadows=False, masks=True)
            frames.take(plain, frame)
        for item in uploaded:
            item.release()
        out = frames.read()
        return out[..., 0], out[..., 1]

    def _upload(self, figure: Figure) -> _Uploaded:
        make = self.context
        columns = [figure.vertices, figure.normals, figure.bones, figure.weights]
        vertices = make.buffer(np.concatenate(columns, 1).astype(np.float32).tobytes())
        faces = make.buffer(figure.faces.astype(np.int32).tobytes())
        names = ("position", "direction", "bone", "weight")
        array = make.vertex_array(self._program, [(vertices, "3f 3f 4f 4f", *names)], faces)
        rows = -(-len(figure.parts) // 256)
        parts = np.zeros(rows * 256, np.uint8)
        parts[: len(figure.parts)] = figure.parts
        return _Uploaded(array, make.texture((256, rows), 1, parts.tobytes(), dtype="u1"), [vertices, faces])

    def _draw(
        self,
        played: Sequence[Played],
        uploaded: Sequence[_Uploaded],
        frame: int,
        camera: Camera,
        size: tuple[int, int],
        *,
        shadows: bool,
        masks: bool,
    ) -> None:
        context, program, half = self.context, self._program, camera.height / 2
        program["view"].value = (camera.x, camera.z, half * size[0] / size[1], half)
        program["tilt"].value = (float(np.cos(camera.tilt)), float(np.sin(camera.tilt)))
        program["shadows"].value = int(shadows)
        context.enable(context.DEPTH_TEST)
        context.disable(context.BLEND)
        if not masks:
            # Colours blend by alpha (the shadow); the picture's own alpha stays the cover.
            context.enable(context.BLEND)
            one, less = context.ONE, context.ONE_MINUS_SRC_ALPHA
            context.blend_func = (context.SRC_ALPHA, less, one, less)
        for number, (one_played, there) in enumerate(zip(played, uploaded, strict=True), 1):
            figure, matrices = one_played.figure, one_played.matrices
            data = np.zeros(_STRIDE // 4, np.float32)
            now = matrices[min(frame, len(matrices) - 1)].swapaxes(1, 2)
            data[: now.size] = now.ravel()
            self._bones.orphan(_STRIDE)
            self._bones.write(data)
            self._bones.bind_to_uniform_block(0)
            program["palette"].write(figure.palette.astype(np.float32).tobytes())
            program["lines"].value = figure.lines
            program["second"].value = figure.look.top_second if figure.look else (0.0, 0.0, 0.0)
            program["pattern"].value = _PATTERNS[figure.look.pattern] if figure.look else 0
            program["entity"].value = number if masks else 0
            there.parts.use(0)
            there.array.render(context.TRIANGLES)

    def _draw_backdrop(self, texture: moderngl.Texture, window: Window) -> None:
        self.context.disable(self.context.BLEND)
        self.context.disable(self.context.DEPTH_TEST)
        self._backdrop_program["window"].value = window
        texture.use(0)
        self._backdrop_array.render(self.context.TRIANGLES, vertices=3)

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
