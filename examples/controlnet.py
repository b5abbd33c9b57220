"""Pose pictures for ControlNet: the people alone on black, and the JSON that its editors open.

python examples/controlnet.py photo.jpg --out out/controlnet
"""

import argparse
from pathlib import Path

import gtpt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("--out", type=Path, default=Path("out/controlnet"))
parser.add_argument("--detector", default="yolox-nano")
args = parser.parse_args()

poses = gtpt.find(args.photo, detector=args.detector)
picture = poses.draw(background="black").save(args.out / f"{args.photo.stem}_pose.png")
summary = gtpt.predict(args.photo, args.out, format="controlnet", detector=args.detector, draw=False, quiet=True)
print(f"{len(poses)} people; look at {picture} and {summary.sources[0].files[0]}")
