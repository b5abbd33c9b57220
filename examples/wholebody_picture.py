"""Draw docs/images/wholebody.jpg: how the 133 points of COCO-WholeBody look. No weights: the points are placed by hand.

python examples/wholebody_picture.py docs/images/wholebody.jpg
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from gtpt import Poses, draw_poses, load_skeleton, read_image

PHOTO = Path(__file__).parent / "photos" / "grace_hopper.jpg"
SCALE = 2  # of the photo; finer lines
SLATE = (62, 66, 74)
HEIGHT, WIDTH = 1200, 780  # of the drawn figure's picture

SKELETON = load_skeleton("coco_wholebody133")
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


def portrait() -> np.ndarray:
    """The photo with what it shows: head, face and shoulders."""
    photo = cv2.resize(read_image(PHOTO), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    points = {name: (np.array(xy) + 0.5) * SCALE - 0.5 for name, xy in (HEAD | SHOULDERS).items()}
    return draw(photo, points, height=800)


def figure() -> np.ndarray:
    """All 133 points on plain ground; the head is that of the photo."""
    points = {name: (np.array(xy) - (262, 240)) / 1900 + (0, 0.075) for name, xy in HEAD.items()}
    left = {f"left_{joint}": np.array(xy) for joint, xy in (BODY | hand()).items()}
    points |= left | {name.replace("left", "right"): xy * (-1, 1) for name, xy in left.items()}
    ground = np.full((HEIGHT, WIDTH, 3), SLATE, dtype=np.uint8)
    size = 0.93 * HEIGHT
    return draw(ground, {name: xy * size + (WIDTH / 2, 0.03 * HEIGHT) for name, xy in points.items()}, height=size)


def hand() -> dict[str, np.ndarray]:
    """The 21 points of the left hand."""
    wrist = np.add(BODY["wrist"], (0.005, 0.014))
    points = {"hand_wrist": wrist}
    for finger, (angle, reach) in FINGERS.items():
        turn = np.deg2rad(angle + HAND_ANGLE)
        along = HAND_LENGTH * np.array([np.cos(turn), np.sin(turn)])
        points |= {f"hand_{finger}_{joint}": wrist + r * along for joint, r in enumerate(reach, start=1)}
    return points


def draw(image: np.ndarray, points: dict[str, np.ndarray], height: float) -> np.ndarray:
    """Draw the points that are given; the height of the person sets the width of the lines."""
    found = np.array([[name in points for name in SKELETON.keypoints]])
    keypoints = np.array([[points.get(name, (0, 0)) for name in SKELETON.keypoints]])
    size = image.shape[1], image.shape[0]
    poses = Poses([[0, 0, 0, height]], [1], keypoints, found, found / 10, [-1], size, SKELETON)
    return draw_poses(image, poses)


if __name__ == "__main__":
    picture = np.concatenate([portrait(), figure()], axis=1)
    cv2.imwrite(sys.argv[1], cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
