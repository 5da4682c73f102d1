"""Pictures of several figures through OpenGL (moderngl, EGL: no display is needed; software drivers do)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mini.story.figure import Figure
from mini.story.look import PARTS, Part
from mini.world.body import Array
from mini.world.opengl import open_context

if TYPE_CHECKING:
    import moderngl

_HEAD = "#version 330\n" + "".join(f"#define {part.name} {part.value}\n" for part in Part)
# A frame is an instance, drawn into a tile of its own: many frames take one call.
_TILED = """
uniform sampler2D shots;    // a row a frame; its columns are those of `_shots`
uniform int first;          // the frame of the first tile
uniform ivec2 tiles;        // columns and rows
vec4 placed(vec2 at, float depth) {   // `at` within the frame, from -1 to 1
    vec2 tile = vec2(gl_InstanceID % tiles.x, gl_InstanceID / tiles.x);
    gl_ClipDistance[0] = 1.0 - at.x; gl_ClipDistance[1] = 1.0 + at.x;
    gl_ClipDistance[2] = 1.0 - at.y; gl_ClipDistance[3] = 1.0 + at.y;
    return vec4((at + 2.0 * tile + 1.0) / vec2(tiles) - 1.0, depth, 1.0);
}
"""
VERTEX = (
    _HEAD
    + _TILED
    + """
uniform sampler2D bones;    // a row a frame, four columns a matrix; one row where the figure stands still
in vec3 position; in vec3 direction; in vec4 bone; in vec4 weight;
out vec3 normal; out vec3 rest;
mat4 matrix(float number, int row) {
    int at = 4 * int(number);
    return mat4(texelFetch(bones, ivec2(at, row), 0), texelFetch(bones, ivec2(at + 1, row), 0),
                texelFetch(bones, ivec2(at + 2, row), 0), texelFetch(bones, ivec2(at + 3, row), 0));
}
void main() {
    int frame = first + gl_InstanceID;
    int row = min(frame, textureSize(bones, 0).y - 1);
    mat4 m = weight.x * matrix(bone.x, row) + weight.y * matrix(bone.y, row)
           + weight.z * matrix(bone.z, row) + weight.w * matrix(bone.w, row);
    vec4 view = texelFetch(shots, ivec2(0, frame), 0);  // centre x, centre height, half width, half height
    vec4 tilt = texelFetch(shots, ivec2(1, frame), 0);  // cosine and sine of the downward tilt
    vec3 world = (m * vec4(position, 1.0)).xyz;
    normal = mat3(m) * direction;
    rest = position;
    float up = tilt.x * world.z + tilt.y * world.y;
    float away = tilt.x * world.y - tilt.y * world.z;
    gl_Position = placed(vec2((world.x - view.x) / view.z, (up - view.y) / view.w), away / 8.0);
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
BACKDROP_VERTEX = (
    "#version 330\n"
    + _TILED
    + """
out vec2 at;
void main() {
    vec4 window = texelFetch(shots, ivec2(2, first + gl_InstanceID), 0);  // left, top, width, height
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
    at = window.xy + vec2(corner.x, 1.0 - corner.y) * window.zw;
    gl_Position = placed(corner * 2.0 - 1.0, 0.9999);
}
"""
)
BACKDROP_FRAGMENT = """
#version 330
uniform sampler2D picture;
in vec2 at; out vec4 colour;
void main() { colour = vec4(texture(picture, at).rgb, 1.0); }
"""
Window = tuple[float, float, float, float]  # left, top, width, height, as shares of a picture
_WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
_MOST_TILES, _MOST_PIXELS = 4, 1_500_000  # tiles side by side; pixels of all of them
_CLIP_DISTANCES = range(0x3000, 0x3004)  # of OpenGL: a tile's four sides
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
    bones: moderngl.Texture
    held: list[moderngl.Buffer] = field(default_factory=list)

    def release(self) -> None:
        for item in (self.array, self.parts, self.bones, *self.held):
            item.release()


@dataclass(frozen=True)
class _Target:
    """A multisampled framebuffer of several tiles, and the plain one that it resolves to."""

    smooth: moderngl.Framebuffer
    plain: moderngl.Framebuffer
    size: tuple[int, int]
    tiles: int  # columns, and rows

    @property
    def together(self) -> int:
        """Frames that are drawn at once."""
        return self.tiles**2


class _Frames:
    """Frames on the graphics card, fetched together: a process that waits for each one waits far longer."""

    def __init__(self, context: moderngl.Context, count: int, target: _Target, components: int) -> None:
        self._count, self._target, self._components = count, target, components
        width, height = target.size
        self._bytes = target.together * width * height * components
        self._buffer = context.buffer(reserve=-(-count // target.together) * self._bytes)

    def take(self, first: int) -> None:
        """Keep what the plain framebuffer shows now: `first` is the frame of its first tile."""
        number = first // self._target.together
        options = {"components": self._components, "alignment": 1, "write_offset": number * self._bytes}
        self._target.plain.read_into(self._buffer, **options)

    def read(self) -> NDArray[np.uint8]:
        """All frames (F, H, W, C), their upper rows first; they are no longer on the card then."""
        tiles, (width, height), channels = self._target.tiles, self._target.size, self._components
        data = np.frombuffer(self._buffer.read(), np.uint8)
        self._buffer.release()
        data = data.reshape(-1, tiles, height, tiles, width, channels)[:, :, ::-1]
        frames = np.empty((len(data), tiles, tiles, height, width, channels), np.uint8)
        frames[:] = data.swapaxes(2, 3)
        return frames.reshape(-1, height, width, channels)[: self._count]


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
        self._program["parts"].value, self._program["bones"].value = 0, 1
        self._backdrop_program["picture"].value = 0
        for program in (self._program, self._backdrop_program):
            program["shots"].value = 2
        for distance in _CLIP_DISTANCES:
            make.enable_direct(distance)
        self._samples = samples
        self._targets: dict[tuple[tuple[int, int], int], _Target] = {}

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
        target = self._target(size, len(cameras))
        frames = _Frames(self.context, len(cameras), target, 4)
        uploaded = [self._upload(one) for one in played]
        shots = self._texture(_shots(cameras, size, windows))
        texture = None
        if backdrop is not None:
            shape = (backdrop.shape[1], backdrop.shape[0])
            texture = self.context.texture(shape, 3, np.ascontiguousarray(backdrop).tobytes(), alignment=1)
        shots.use(2)
        for first in range(0, len(cameras), target.together):
            count = min(target.together, len(cameras) - first)
            target.smooth.use()
            self.context.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
            if texture is not None:
                self._draw_backdrop(texture, target, first, count)
            self._draw(played, uploaded, target, first, count, shadows=shadows, masks=False)
            self.context.copy_framebuffer(target.plain, target.smooth)
            frames.take(first)
        for item in [*uploaded, shots, *([texture] if texture is not None else [])]:
            item.release()
        return frames.read()

    def masks(
        self, played: Sequence[Played], cameras: Sequence[Camera], size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Part numbers and figure numbers (F, H, W) of every pixel; the first figure is 1, 0 is nobody."""
        target = self._target(size, len(cameras))
        frames = _Frames(self.context, len(cameras), target, 2)
        uploaded = [self._upload(one) for one in played]
        shots = self._texture(_shots(cameras, size))
        shots.use(2)
        for first in range(0, len(cameras), target.together):
            count = min(target.together, len(cameras) - first)
            target.plain.use()
            self.context.clear(1.0, 0.0, 0.0, 0.0, depth=1.0)
            self._draw(played, uploaded, target, first, count, shadows=False, masks=True)
            frames.take(first)
        for item in [*uploaded, shots]:
            item.release()
        out = frames.read()
        return out[..., 0], out[..., 1]

    def _upload(self, one: Played) -> _Uploaded:
        make, figure = self.context, one.figure
        columns = [figure.vertices, figure.normals, figure.bones, figure.weights]
        vertices = make.buffer(np.concatenate(columns, 1).astype(np.float32).tobytes())
        faces = make.buffer(figure.faces.astype(np.int32).tobytes())
        names = ("position", "direction", "bone", "weight")
        array = make.vertex_array(self._program, [(vertices, "3f 3f 4f 4f", *names)], faces)
        rows = -(-len(figure.parts) // 256)
        parts = np.zeros(rows * 256, np.uint8)
        parts[: len(figure.parts)] = figure.parts
        told = make.texture((256, rows), 1, parts.tobytes(), dtype="u1")
        bones = self._texture(one.matrices.swapaxes(2, 3).reshape(len(one.matrices), -1, 4))
        return _Uploaded(array, told, bones, [vertices, faces])

    def _texture(self, rows_FN4: Array) -> moderngl.Texture:
        """Numbers that a shader reads by row and column."""
        data = np.ascontiguousarray(rows_FN4, dtype=np.float32)
        texture = self.context.texture((data.shape[1], data.shape[0]), 4, data.tobytes(), dtype="f4")
        nearest = self.context.NEAREST
        texture.filter = nearest, nearest
        return texture

    def _draw(
        self,
        played: Sequence[Played],
        uploaded: Sequence[_Uploaded],
        target: _Target,
        first: int,
        count: int,
        *,
        shadows: bool,
        masks: bool,
    ) -> None:
        context, program = self.context, self._program
        program["first"].value, program["tiles"].value = first, (target.tiles, target.tiles)
        program["shadows"].value = int(shadows)
        context.enable(context.DEPTH_TEST)
        context.disable(context.BLEND)
        if not masks:
            # Colours blend by alpha (the shadow); the picture's own alpha stays the cover.
            context.enable(context.BLEND)
            one, less = context.ONE, context.ONE_MINUS_SRC_ALPHA
            context.blend_func = (context.SRC_ALPHA, less, one, less)
        for number, (one_played, there) in enumerate(zip(played, uploaded, strict=True), 1):
            figure = one_played.figure
            program["palette"].write(figure.palette.astype(np.float32).tobytes())
            program["lines"].value = figure.lines
            program["second"].value = figure.look.top_second if figure.look else (0.0, 0.0, 0.0)
            program["pattern"].value = _PATTERNS[figure.look.pattern] if figure.look else 0
            program["entity"].value = number if masks else 0
            there.parts.use(0)
            there.bones.use(1)
            there.array.render(context.TRIANGLES, instances=count)

    def _draw_backdrop(self, texture: moderngl.Texture, target: _Target, first: int, count: int) -> None:
        self.context.disable(self.context.BLEND)
        self.context.disable(self.context.DEPTH_TEST)
        program = self._backdrop_program
        program["first"].value, program["tiles"].value = first, (target.tiles, target.tiles)
        texture.use(0)
        self._backdrop_array.render(self.context.TRIANGLES, vertices=3, instances=count)

    def _target(self, size: tuple[int, int], frames: int) -> _Target:
        """Framebuffers for frames of a size: as many tiles as are worth it."""
        fitting = int((_MOST_PIXELS / (size[0] * size[1])) ** 0.5)
        tiles = max(1, min(_MOST_TILES, fitting, int(np.ceil(frames**0.5))))
        if (size, tiles) not in self._targets:
            make, whole = self.context, (size[0] * tiles, size[1] * tiles)
            smooth = make.framebuffer(
                [make.renderbuffer(whole, 4, samples=self._samples)],
                make.depth_renderbuffer(whole, samples=self._samples),
            )
            plain = make.framebuffer([make.renderbuffer(whole, 4)], make.depth_renderbuffer(whole))
            self._targets[size, tiles] = _Target(smooth, plain, size, tiles)
        return self._targets[size, tiles]


def _shots(
    cameras: Sequence[Camera], size: tuple[int, int], windows: Sequence[Window] | None = None
) -> Array:
    """What the shaders read of every frame (F,3,4): its view, its tilt, its window on the backdrop."""
    rows = np.zeros((len(cameras), 3, 4), np.float32)
    for row, camera in zip(rows, cameras, strict=True):
        half = camera.height / 2
        row[0] = camera.x, camera.z, half * size[0] / size[1], half
        row[1, :2] = np.cos(camera.tilt), np.sin(camera.tilt)
    rows[:, 2] = _WHOLE if windows is None else windows
    return rows
