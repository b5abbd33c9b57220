"""Who people are and what they wear: builds, faces, skin, hair and garments, drawn at random.

Numbers are plain ranges that look right; garments are cut by heights (metres in the reference pose, 0 at the hips) and by
parts of a limb (0 at its root, 1 at wrist or ankle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from gtpt.data.synthetic.body import LASHES, Body, Shape
from gtpt.data.synthetic.renderer import CLOTH, EYE, HAIR, LASH, SHOE, SKIN, Layer

NOWHERE, EVERYWHERE = -9.0, 9.0
LOOK: dict[str, Any] = {  # uniforms of the shader that a layer need not set
    "offset": 0.0,
    "puff": 0.0,
    "hair": (0.0, 0.0, 0.0),
    "hairline": (0.7, 0.64, 0.58, -1.0),
    "wrinkle": 0.0,
    "gloss": 0.0,
    "scale": 1.0,
    "top": (0.0, 0.0, EVERYWHERE, 0.0),
    "range": (NOWHERE, EVERYWHERE, EVERYWHERE, EVERYWHERE),
    "cover": (EVERYWHERE, -1.0, NOWHERE, NOWHERE),
    "waist": NOWHERE,
    "tint": (0.5, 0.5, 0.5),
}
# Linear RGB; skin from the lightest to the darkest, hair black, dark brown, brown, blond, grey, red.
SKINS = np.array([[0.74, 0.50, 0.39], [0.10, 0.050, 0.030]])
HAIRS = np.array(
    [
        [0.012, 0.010, 0.009],
        [0.035, 0.022, 0.015],
        [0.10, 0.055, 0.03],
        [0.30, 0.19, 0.09],
        [0.45, 0.42, 0.40],
        [0.16, 0.05, 0.02],
    ]
)
IRISES = np.array([[0.05, 0.03, 0.015], [0.12, 0.07, 0.03], [0.10, 0.16, 0.22], [0.09, 0.13, 0.06]])
OLD, GROWN = 0.87, 0.55  # anny's age runs from 0, new-born, over 1/3, a child, and 2/3, a young adult, to 1


def draw_shape(body: Body, rng: np.random.Generator) -> Shape:
    """A build: mostly adults of every weight, some children and old people, with a face."""
    age = rng.choice([rng.uniform(GROWN, 0.95), rng.uniform(0.3, GROWN), rng.uniform(0.18, 0.3)], p=[0.8, 0.15, 0.05])
    values = {"gender": rng.beta(0.4, 0.4), "age": age, "height": rng.beta(3, 3)}
    values |= {name: rng.beta(2, 2) for name in ("muscle", "weight", "proportions")}
    labels = body.model.local_change_labels
    local = np.clip(rng.normal(0, 0.22, len(labels)), -0.7, 0.7)
    for i, name in enumerate(labels):
        if name.startswith("r-") and (twin := "l-" + name[2:]) in labels:  # both sides alike, but for a little
            local[i] = local[labels.index(twin)] + rng.normal(0, 0.03)
        if name.startswith("stomach-pregnant"):
            local[i] = max(local[i], 0) * (rng.random() < 0.15)
    phenotype = np.array([values.get(name, 0.5) for name in body.model.phenotype_labels])
    return Shape(phenotype, local, _expression(body.model.facial_action_labels, rng))


def _expression(labels: list[str], rng: np.random.Generator) -> np.ndarray:
    """Facial actions: neutral, smiling, talking, or a few of them at random."""
    face = np.zeros(len(labels))

    def put(amount: float, *names: str) -> None:
        for name in names:
            face[labels.index(name)] = np.clip(amount * rng.uniform(0.8, 1.2), 0, 1)

    kind = rng.choice(["neutral", "smile", "talk", "any"], p=[0.25, 0.35, 0.25, 0.15])
    if kind == "smile":
        put(rng.uniform(0.2, 1), "mouthSmileLeft", "mouthSmileRight")
        put(rng.uniform(0, 0.6), "cheekSquintLeft", "cheekSquintRight")
        put(rng.choice([0.0, rng.uniform(0.1, 0.4)]), "jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight")
    elif kind == "talk":
        put(rng.uniform(0.05, 0.7), "jawOpen")
        put(rng.uniform(0, 0.5), str(rng.choice(["mouthFunnel", "mouthPucker", "mouthShrugLower", "mouthRollLower"])))
    elif kind == "any":
        for name in rng.choice([name for name in labels if name != "tongueOut"], 4):
            put(rng.uniform(0, 0.7), str(name))
    shut = 1.0 if rng.random() < 0.06 else max(rng.normal(0.05, 0.15), 0)
    put(shut, "eyeBlinkLeft", "eyeBlinkRight")
    put(rng.uniform(0, 0.5), str(rng.choice(["browInnerUp", "browDownLeft", "browOuterUpLeft", "browDownRight"])))
    return face


@dataclass(frozen=True)
class Outfit:
    """Cut of the clothes.

    Attributes:
        sleeve, leg: how far down the limb they reach; a skirt's leg is its length over 0.85 m.
        waist, hem, collar: heights of the trousers' upper end, the shirt's lower and its upper end.
        neck: how much lower the collar is in front.
        skirt, bare: instead of trousers; without a shirt.
    """

    sleeve: float
    leg: float
    waist: float
    hem: float
    collar: float
    neck: float
    skirt: bool
    bare: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, female: bool) -> Outfit:
        skirt = bool(rng.random() < (0.28 if female else 0.02))
        sleeves = [-0.2, rng.uniform(0.05, 0.2), rng.uniform(0.3, 0.6), rng.uniform(0.85, 1.0)]
        legs = [rng.uniform(0.12, 0.3), rng.uniform(0.35, 0.6), rng.uniform(0.9, 1.05)]
        return cls(
            sleeve=float(rng.choice(sleeves, p=[0.12, 0.1, 0.38, 0.4])),
            leg=float(rng.uniform(0.3, 0.9)) if skirt else float(rng.choice(legs, p=[0.12, 0.25, 0.63])),
            waist=float(rng.uniform(0.03, 0.11)),
            hem=float(rng.choice([rng.uniform(-0.14, -0.02), rng.uniform(0.0, 0.08)])),
            collar=float(rng.uniform(0.49, 0.55)),
            neck=float(rng.choice([0.02, 0.05, rng.uniform(0.05, 0.12)])),
            skirt=skirt,
            bare=bool(rng.random() < (0.02 if female else 0.07)),
        )


def dress(body: Body, shape: Shape, rng: np.random.Generator, patterns: Patterns) -> list[Layer]:
    """Skin, eyes, hair and garments of one person, to be drawn in this order."""
    values = dict(zip(body.model.phenotype_labels, shape.phenotype, strict=True))
    female, age = values["gender"] > 0.5, float(values["age"])
    melanin = rng.beta(0.7, 1.7)
    hair = _hair_color(melanin, age, rng)
    look = _look(melanin, hair, not female and age > GROWN, rng)
    outfit = Outfit.draw(rng, female)
    cover = (
        EVERYWHERE if outfit.bare else outfit.hem,
        -1.0 if outfit.bare else outfit.sleeve,
        outfit.collar - outfit.neck,
        NOWHERE if outfit.skirt else outfit.leg,
    )
    teeth = np.full((4, 4, 3), (205, 200, 190), np.uint8)
    return [
        Layer("body", SKIN, {**look, "cover": cover, "waist": NOWHERE if outfit.skirt else outfit.waist}),
        Layer("eyes", EYE, look),
        Layer("helper-upper-teeth", CLOTH, look, teeth),
        *(Layer(name, LASH, look) for name in LASHES if name.endswith("2")),  # the upper rows
        _bottom(look, outfit, rng, patterns),
        *_tops(look, outfit, rng, patterns),
        _feet(look, rng),
        *_hair(look, hair, female, age, rng),
    ]


def _look(melanin: float, hair: np.ndarray, bearded: bool, rng: np.random.Generator) -> dict[str, Any]:
    """What all layers of a person share."""
    skin = np.exp(np.log(SKINS[0]) * (1 - melanin) + np.log(SKINS[1]) * melanin)
    skin = skin * rng.uniform(0.85, 1.15, 3) ** [0.4, 0.6, 1.0]
    return {
        **LOOK,
        "skin": tuple(skin),
        "lip": tuple(skin * [0.95, 0.55, 0.52] * rng.uniform(0.8, 1.1)),
        "iris": tuple(IRISES[rng.choice(4, p=[0.55, 0.25, 0.12, 0.08])]),
        "brow": tuple(np.minimum(hair, 0.14) * 0.8),
        "browWidth": float(rng.uniform(0.0028, 0.0052)),
        "beard": (*(hair * 0.8), float(rng.uniform(0.15, 0.9)) if bearded and rng.random() < 0.45 else 0.0),
    }


def _hair_color(melanin: float, age: float, rng: np.random.Generator) -> np.ndarray:
    share = np.array([3, 3, 2.2, 1.2, 0.5, 0.3])
    if melanin > 0.5:
        share = share * [3, 1, 0.3, 0.05, 0.6, 0.05]
    if age > OLD:
        share = share * [0.3, 0.3, 0.3, 0.5, 8, 0.1]
    return HAIRS[rng.choice(6, p=share / share.sum())] * rng.uniform(0.7, 1.3)


def _bottom(look: dict[str, Any], outfit: Outfit, rng: np.random.Generator, patterns: Patterns) -> Layer:
    cloth = {**look, "wrinkle": rng.uniform(0.2, 0.7), "scale": rng.uniform(0.8, 2)}
    pattern = patterns.draw(rng, plain=0.8)
    if outfit.skirt:
        place = (outfit.waist - 0.85 * outfit.leg, outfit.waist, EVERYWHERE, 1.0)
        return Layer("helper-skirt", CLOTH, {**cloth, "range": place}, pattern)
    place = (-0.80, outfit.waist, -0.5, outfit.leg)
    return Layer("helper-tights", CLOTH, {**cloth, "range": place, "offset": rng.uniform(0, 0.012), "puff": 0.6}, pattern)


def _tops(look: dict[str, Any], outfit: Outfit, rng: np.random.Generator, patterns: Patterns) -> list[Layer]:
    """A shirt and sometimes a jacket, closed or open in front."""
    if outfit.bare:
        return []
    loose = rng.uniform(0.003, 0.022)
    shirt = {
        **look,
        "range": (outfit.hem, EVERYWHERE, outfit.sleeve, 1.6),
        "top": (outfit.hem, outfit.neck, outfit.collar, 0.0),
        "offset": loose,
        "puff": 0.7,
        "wrinkle": rng.uniform(0.2, 0.8),
        "scale": rng.uniform(0.8, 2),
    }
    layers = [Layer("helper-tights", CLOTH, shirt, patterns.draw(rng))]
    if rng.random() < 0.22:
        opening = float(rng.choice([0.0, rng.uniform(0.02, 0.06)]))
        jacket = {
            **shirt,
            "range": (outfit.hem - rng.uniform(0, 0.25), EVERYWHERE, rng.uniform(0.85, 1.0), 1.6),
            "top": (0.0, 0.02, 0.53, opening),
            "offset": loose + 0.014,
        }
        layers.append(Layer("helper-tights", CLOTH, jacket, patterns.draw(rng, plain=0.7)))
    return layers


def _feet(look: dict[str, Any], rng: np.random.Generator) -> Layer:
    if rng.random() < 0.15:
        return Layer("feet", SKIN, look)
    tint = rng.choice([0.02, 0.05, 0.3, 0.7]) * rng.uniform(0.6, 1.3) * np.ones(3)
    if rng.random() < 0.5:
        tint = tint * (1 + 0.4 * rng.uniform(-1, 1, 3))
    shaft = float(rng.choice([-0.81, -0.79, -0.74, -0.6], p=[0.4, 0.35, 0.15, 0.1]))
    shoe = {
        **look,
        "range": (NOWHERE, shaft, EVERYWHERE, EVERYWHERE),
        "offset": rng.uniform(0.004, 0.01),
        "tint": tuple(np.clip(tint, 0, 0.9)),
        "gloss": rng.uniform(0, 0.5),
        "wrinkle": 0.2,
    }
    return Layer("helper-tights", SHOE, shoe)


def _hair(look: dict[str, Any], color: np.ndarray, female: bool, age: float, rng: np.random.Generator) -> list[Layer]:
    """Nothing, a cap, short hair, or short hair with a long curtain."""
    kind = rng.random()
    if not female and (kind < 0.1 or (age > OLD and kind < 0.35)):
        return []
    if rng.random() < 0.14:
        color = np.clip(rng.beta(0.8, 1.2) * (1 + 0.5 * rng.uniform(-1, 1, 3)), 0.01, 0.8)
        cap = {"offset": rng.uniform(0.014, 0.022), "tint": tuple(color), "wrinkle": 0.3}
        return [
            Layer("scalp", SHOE, {**look, **cap, "range": (rng.uniform(0.67, 0.70), EVERYWHERE, EVERYWHERE, EVERYWHERE)})
        ]
    thick = rng.uniform(0.008, 0.035) if female or rng.random() < 0.3 else rng.uniform(0.004, 0.02)
    line = (0.705 + rng.uniform(-0.02, 0.02), rng.uniform(0.62, 0.66), rng.uniform(0.56, 0.61))
    strands = {**look, "tint": tuple(color), "gloss": rng.uniform(0.05, 0.3)}
    layers = [Layer("scalp", HAIR, {**strands, "hair": (thick, 0.0, 0.0), "hairline": (*line, -1.0)})]
    if rng.random() < (0.55 if female else 0.05):
        layers.append(Layer("helper-hair", HAIR, {**strands, "hairline": (*line, rng.uniform(0.30, 0.56))}))
    return layers


class Patterns:
    """Tiles for garments: drawn ones, and patches of real clothes.

    Args:
        patches: RGB uint8 pictures of cloth of any size; with none, all tiles are drawn.
    """

    SIZE = 128

    def __init__(self, patches: list[np.ndarray]):
        self.patches = patches

    def draw(self, rng: np.random.Generator, plain: float = 0.5) -> np.ndarray:
        """A tile (S, S, 3) uint8 RGB; `plain` is the share of drawn ones without a motif."""
        if self.patches and rng.random() < 0.55:
            patch = self.patches[int(rng.integers(len(self.patches)))]
            patch = cv2.resize(patch, (self.SIZE, self.SIZE), interpolation=cv2.INTER_LINEAR)
            pair = np.hstack([patch, patch[:, ::-1]])  # mirrored, so that it repeats without a seam
            return np.vstack([pair, pair[::-1]])
        first, second = _cloth_color(rng), _cloth_color(rng)
        tile = np.tile(first, (self.SIZE, self.SIZE, 1))
        if rng.random() > plain:
            tile = tile + _motif(rng, self.SIZE)[..., None] * (second - first)
        tile = tile * rng.normal(1, 0.02, (self.SIZE, self.SIZE, 1))
        return np.clip(tile, 0, 255).astype(np.uint8)


def _motif(rng: np.random.Generator, size: int) -> np.ndarray:
    """(S, S) float32 in [0, 1]: stripes, checks, dots or stains."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    count = int(rng.integers(1, 9))
    kind = rng.choice(["across", "along", "checks", "dots", "stains"])
    if kind == "across":
        motif = np.sin(2 * np.pi * count * y) > rng.uniform(-0.8, 0.8)
    elif kind == "along":
        motif = np.sin(2 * np.pi * count * x) > rng.uniform(-0.8, 0.8)
    elif kind == "checks":
        motif = ((np.sin(2 * np.pi * count * x) > 0.3) + 1.0 * (np.sin(2 * np.pi * count * y) > 0.3)) / 2
    elif kind == "dots":
        motif = np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) < rng.uniform(0.15, 0.45)
    else:
        motif = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), size / count / 6) > 0
    return np.asarray(motif, np.float32)


def _cloth_color(rng: np.random.Generator) -> np.ndarray:
    """sRGB 0..255: greys, denims and everything else."""
    hue, saturation, value = rng.uniform(0, 180), rng.beta(1.2, 2.2) * 255, rng.beta(1.2, 1.3) * 235 + 12
    kind = rng.random()
    if kind < 0.35:
        saturation *= 0.2
    elif kind < 0.55:
        hue, saturation = rng.uniform(100, 118), rng.uniform(40, 150)
    pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
