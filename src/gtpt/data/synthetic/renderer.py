"""People to pixels: one OpenGL context, drawn off screen (Mesa's software rasteriser is enough)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from gtpt.core.errors import GtptError
from gtpt.core.extras import require
from gtpt.data.synthetic.body import Body

SKIN, CLOTH, HAIR, SHOE, EYE, LASH = range(6)  # kinds of surface, as in the shader
SHADOW = 512


@dataclass
class Layer:
    """One shell over a person: which triangles, and how they look (names are those of the shader's uniforms)."""

    part: str
    kind: int
    look: dict[str, Any] = field(default_factory=dict)
    pattern: np.ndarray | None = None  # (S, S, 3) uint8


@dataclass
class Figure:
    """A posed person in camera space: x right, y down, z forward, metres."""

    vertices: np.ndarray  # (V, 3)
    normals: np.ndarray  # (V, 3)
    bone_heads: np.ndarray  # (B, 3)
    head: np.ndarray  # (3, 3) rotation of the head from the reference pose
    layers: list[Layer]
    number: int = 1


@dataclass
class Light:
    """Sun and surroundings, linear RGB; directions in camera space."""

    sun: np.ndarray
    sun_color: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    up: np.ndarray


class Renderer:
    """Draws figures into a window of the picture plane.

    Args:
        body: whose topology the figures share.

    Raises:
        MissingExtraError: the extra `synthetic` is missing.
        GtptError: this machine gives no OpenGL 3.3 context without a display.
    """

    def __init__(self, body: Body):
        moderngl = require("moderngl", "synthetic")
        try:
            self.gl = moderngl.create_standalone_context(backend="egl", require=330)
        except Exception as error:
            raise GtptError(
                f"no OpenGL 3.3 without a display on this machine ({error}); install Mesa's EGL driver, "
                "on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
            ) from error
        self.moderngl = moderngl
        self.programs = []
        for kind in range(6):  # one program per kind: a software rasteriser runs both sides of every branch
            header = f"#version 330\n#define kind {kind}\n"
            sources = {f"{n}_shader": header + _shader(f"person.{n[:4]}") for n in ("vertex", "fragment")}
            self.programs.append(self.gl.program(**sources))
        self.uniforms = [{name: program[name] for name in program} for program in self.programs]
        self.shadow_program = self.gl.program(vertex_shader=_shader("shadow.vert"), fragment_shader=_shader("shadow.frag"))
        self.moving = self.gl.buffer(reserve=len(body.rest) * 24, dynamic=True)
        places = [body.rest, body.normals(body.rest[None])[0], body.arm, body.leg, body.mask("mpfb_lips.jpg") * body.front]
        self.static = self.gl.buffer(np.column_stack(places).astype("f4").tobytes())
        triangles = body.parts
        self.parts = {
            (name, kind): self._array(program, faces)
            for name, faces in triangles.items()
            for kind, program in enumerate(self.programs)
        }
        casting = np.concatenate([triangles["helper-tights"], triangles["head"]])  # the tights, shrunk, stand for the body
        index = self.gl.buffer(casting.astype("i4").tobytes())
        self.caster = self.gl.vertex_array(self.shadow_program, [(self.moving, "3f 3f", "position", "normal")], index)
        self.depth_map = self.gl.depth_texture((SHADOW, SHADOW))
        self.depth_map.compare_func = "<="
        self.depth_map.repeat_x = self.depth_map.repeat_y = False
        self.shadow_target = self.gl.framebuffer(depth_attachment=self.depth_map)
        self.noise = self.gl.texture((256, 256), 4, _noise().tobytes())
        self.noise.build_mipmaps()
        self.target: Any = None

    def _array(self, program: Any, faces: np.ndarray) -> Any:
        content = [
            (self.moving, "3f 3f", "position", "normal"),
            (self.static, "3f 3f 3f", "rest", "restNormal", "place"),
        ]
        return self.gl.vertex_array(program, content, self.gl.buffer(faces.astype("i4").tobytes()), skip_errors=True)

    def render(
        self, figures: list[Figure], light: Light, window: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, ...]:
        """Draw.

        Args:
            figures: people; nearer ones hide further ones.
            light: of the scene.
            window: left, top, right, bottom on the picture plane at distance 1.
            size: width, height in pixels.

        Returns:
            (H, W, 4) uint8 RGBA multiplied by alpha, (H, W) float32 depth in metres (0 where nothing is), (H, W) int32
            number of the figure (0: none).
        """
        matrix = _light_matrix(light.sun, np.concatenate([f.vertices[::40] for f in figures]))
        self._draw_shadows(figures, matrix)
        target = self._target(size)
        target.use()
        target.clear(0.0, 0.0, 0.0, 0.0, depth=1.0, viewport=target.viewport)
        self.noise.use(0)
        self.depth_map.use(2)
        for name, value in (
            ("noise", 0),
            ("pattern", 1),
            ("shadow", 2),
            ("projection", tuple(_projection(window).T.ravel())),
            ("light", tuple(matrix.T.ravel())),
            ("sun", tuple(light.sun)),
            ("sunColor", tuple(light.sun_color)),
            ("skyColor", tuple(light.sky)),
            ("groundColor", tuple(light.ground)),
            ("up", tuple(light.up)),
        ):
            self._set_all(name, value)
        for figure in figures:
            self._upload(figure)
            self._set_all("head", tuple(figure.head.T.ravel()))
            self._set_all("who", figure.number)
            for layer in figure.layers:
                self._draw(layer)
        color, about = target.read(size, 4, attachment=0), target.read(size, 2, attachment=1, dtype="f4")
        color = np.frombuffer(color, np.uint8).reshape(size[1], size[0], 4)
        about = np.frombuffer(about, np.float32).reshape(size[1], size[0], 2)
        return color[::-1], about[::-1, :, 0], about[::-1, :, 1].astype(np.int32)

    def _draw_shadows(self, figures: list[Figure], matrix: np.ndarray) -> None:
        self.shadow_target.use()
        self.shadow_target.clear(depth=1.0)
        self.gl.enable(self.moderngl.DEPTH_TEST)
        self.shadow_program["light"].value = tuple(matrix.T.ravel())
        for figure in figures:
            self._upload(figure)
            self.caster.render()

    def _upload(self, figure: Figure) -> None:
        both = np.concatenate([figure.vertices, figure.normals], axis=1).astype("f4")
        self.moving.write(both.tobytes())

    def _set_all(self, name: str, value: Any) -> None:
        for uniforms in self.uniforms:
            if name in uniforms:
                uniforms[name].value = value

    def _draw(self, layer: Layer) -> None:
        uniforms = self.uniforms[layer.kind]
        for name, value in layer.look.items():
            if name in uniforms:
                uniforms[name].value = value
        texture = None
        if layer.pattern is not None:
            texture = self.gl.texture(
                layer.pattern.shape[1::-1], 3, np.ascontiguousarray(layer.pattern).tobytes(), alignment=1
            )
            texture.filter = self.moderngl.LINEAR, self.moderngl.LINEAR  # mipmaps take longer than the drawing
            texture.use(1)
        self.parts[layer.part, layer.kind].render()
        if texture is not None:
            texture.release()

    def _target(self, size: tuple[int, int]) -> Any:
        """A frame buffer with a viewport of this size: one for all, that grows."""
        if self.target is None or max(size[0] - self.target.width, size[1] - self.target.height) > 0:
            whole = size
            if self.target is not None:
                whole = max(size[0], self.target.width), max(size[1], self.target.height)
                for part in (*self.target.color_attachments, self.target.depth_attachment, self.target):
                    part.release()  # a frame buffer does not release what it draws into
            attachments = [self.gl.texture(whole, 4), self.gl.texture(whole, 2, dtype="f4")]
            self.target = self.gl.framebuffer(attachments, self.gl.depth_renderbuffer(whole))
        self.target.viewport = (0, 0, *size)
        return self.target


def _shader(name: str) -> str:
    return (files("gtpt.data.synthetic") / "shaders" / name).read_text(encoding="utf-8")


def _projection(window: np.ndarray, near: float = 0.1, far: float = 80.0) -> np.ndarray:
    """Camera space (y down, z forward) to clip space (y up)."""
    left, top, right, bottom = window
    return np.array(
        [
            [2 / (right - left), 0, -(right + left) / (right - left), 0],
            [0, -2 / (bottom - top), (bottom + top) / (bottom - top), 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )


def _light_matrix(sun: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Orthographic view from the sun that holds all points."""
    z = -sun
    x = np.cross(z, [0.0, 0.0, 1.0] if abs(z[2]) < 0.9 else [1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(z, x), z])
    local = points @ axes.T
    low, high = local.min(0) - 0.1, local.max(0) + 0.1
    scale = 2 / (high - low)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * scale[:, None]
    matrix[:3, 3] = -(low + high) / 2 * scale
    return matrix


def _noise(size: int = 256) -> np.ndarray:
    """(S, S, 4) uint8, tileable: fractal height, its two slopes, and fine grain."""
    rng = np.random.default_rng(7)
    fx, fy = np.meshgrid(np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size)
    radius = np.maximum(np.hypot(fx, fy), 1)
    spectrum = np.fft.fft2(rng.standard_normal((size, size)))
    height = np.fft.ifft2(spectrum / radius**1.6).real
    slopes = [np.fft.ifft2(np.fft.fft2(height) * 1j * f / (1 + (radius / 24) ** 2)).real for f in (fx, fy)]
    grain = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / radius**0.4).real
    return np.stack([_spread(v) for v in (height, *slopes, grain)], axis=-1)


def _spread(values: np.ndarray) -> np.ndarray:
    return np.clip(127.5 + 48 * (values - values.mean()) / values.std(), 0, 255).astype(np.uint8)
