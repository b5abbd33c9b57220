"""Draw wholebody.jpg and custom.jpg of the documentation. No weights are at work: the points are placed by hand.

python examples/pictures.py docs/images
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from gtpt import Poses, Skeleton, draw_poses, load_skeleton, read_image

HERE = Path(__file__).parent
SLATE = (62, 66, 74)
HEIGHT, WIDTH = 1200, 780  # of the drawn figure's picture

WHOLEBODY, SHUTTLE = load_skeleton("coco_wholebody133"), load_skeleton(HERE / "shuttle.yaml")
HEAD = {
    "nose": (268, 234),
    "left_eye": (303, 187),
    "right_eye": (219, 190),
    "left_ear": (364, 212),
    "right_ear": (166, 216),
}
SHOULDERS = {"left_shoulder": (452, 398), "right_shoulder": (78, 404)}
FACE = """
175 198  176 220  179 242  184 264  191 284  201 302  216 318  236 330  260 335
284 331  305 319  321 303  332 284  339 264  344 242  347 220  349 197
190 170  201 163  214 161  228 163  241 168   279 167  292 161  306 158  320 160  333 166
262 186  264 202  266 218  268 234  247 245  256 248  267 250  278 248  287 244
201 191  211 184  225 184  236 192  225 196  211 197   285 190  295 182  309 181  320 187  310 193  296 194
229 279  243 274  256 271  266 273  276 270  290 272  307 276  293 285  280 291  267 293  254 292  240 287
235 279  256 277  266 278  277 276  301 276  277 282  266 284  256 283
"""  # x y of the 68 points in the photo
HEAD |= {f"face_{i}": (x, y) for i, (x, y) in enumerate(np.array(FACE.split(), dtype=int).reshape(68, 2).tolist())}
# A figure that faces us with open hands, in shares of its height; its right half is the mirror image.
BODY = {"shoulder": (0.105, 0.19), "elbow": (0.165, 0.335), "wrist": (0.225, 0.455), "hip": (0.062, 0.5)}
BODY |= {"knee": (0.075, 0.735), "ankle": (0.085, 0.94), "heel": (0.082, 0.97), "big_toe": (0.098, 1.005)}
BODY |= {"small_toe": (0.128, 0.99)}
HAND_ANGLE, HAND_LENGTH = 69.6, 0.135  # degrees from the x axis to the middle finger, downwards; share of the height
FINGERS = {  # degrees from the middle finger, and how far each joint is from the wrist in hand lengths
    "thumb": (-38, (0.22, 0.42, 0.57, 0.7)),
    "index": (-13, (0.48, 0.69, 0.82, 0.93)),
    "middle": (0, (0.49, 0.74, 0.88, 1.0)),
    "ring": (12, (0.47, 0.7, 0.84, 0.94)),
    "pinky": (25, (0.43, 0.6, 0.7, 0.8)),
}
# Points in the photo of the astronaut, whose crop is x1, y1, x2, y2.
CRAFT = {"nose": (396, 78), "engines": (399, 248), "fin": (368, 268)}
CRAFT |= {"left_wing_root": (378, 180), "right_wing_root": (420, 173)}
CRAFT |= {"left_wing_tip": (355, 218), "right_wing_tip": (453, 218)}
CROP = (325, 45, 500, 280)


def portrait() -> np.ndarray:
    """The photo with what it shows: head, face and shoulders."""
    photo, points = enlarged("grace_hopper.jpg", HEAD | SHOULDERS, (0, 0, 512, 600), 2)
    return draw(photo, points, WHOLEBODY, size=800)


def shuttle() -> np.ndarray:
    """Seven keypoints of our own."""
    photo, points = enlarged("astronaut.jpg", CRAFT, CROP, 3)
    return draw(photo, points, SHUTTLE, size=700)


def figure() -> np.ndarray:
    """All 133 points on plain ground; the head is that of the photo."""
    points = {name: (np.array(xy) - (262, 240)) / 1900 + (0, 0.075) for name, xy in HEAD.items()}
    left = {f"left_{joint}": np.array(xy) for joint, xy in (BODY | hand()).items()}
    points |= left | {name.replace("left", "right"): xy * (-1, 1) for name, xy in left.items()}
    ground = np.full((HEIGHT, WIDTH, 3), SLATE, dtype=np.uint8)
    size = 0.93 * HEIGHT
    points = {name: xy * size + (WIDTH / 2, 0.03 * HEIGHT) for name, xy in points.items()}
    return draw(ground, points, WHOLEBODY, size)


def hand() -> dict[str, np.ndarray]:
    """The 21 points of the left hand."""
    wrist = np.add(BODY["wrist"], (0.005, 0.014))
    points = {"hand_wrist": wrist}
    for finger, (angle, reach) in FINGERS.items():
        turn = np.deg2rad(angle + HAND_ANGLE)
        along = HAND_LENGTH * np.array([np.cos(turn), np.sin(turn)])
        points |= {f"hand_{finger}_{joint}": wrist + r * along for joint, r in enumerate(reach, start=1)}
    return points


def enlarged(
    name: str, points: dict[str, tuple[int, int]], box: tuple[int, int, int, int], scale: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Part of a photo with more pixels, for finer lines, and the points there."""
    x1, y1, x2, y2 = box
    part = read_image(HERE / "photos" / name)[y1:y2, x1:x2]
    image = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return image, {key: (np.subtract(xy, (x1, y1)) + 0.5) * scale - 0.5 for key, xy in points.items()}


def draw(image: np.ndarray, points: dict[str, np.ndarray], skeleton: Skeleton, size: float) -> np.ndarray:
    """Draw the points that are given with the lines of somebody `size` pixels tall."""
    found = np.array([[name in points for name in skeleton.keypoints]])
    keypoints = np.array([[points.get(name, (0, 0)) for name in skeleton.keypoints]])
    width_height = image.shape[1], image.shape[0]
    return draw_poses(image, Poses([[0, 0, 0, size]], [1], keypoints, found, found / 10, [-1], width_height, skeleton))


if __name__ == "__main__":
    pictures = {"wholebody": np.concatenate([portrait(), figure()], axis=1), "custom": shuttle()}
    for name, picture in pictures.items():
        path = f"{sys.argv[1]}/{name}.jpg"
        cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
