"""People in a film, a folder of frames or a camera, followed over time, as a table with a row per person and frame.

python examples/film_to_csv.py film.mp4 people.csv
python examples/film_to_csv.py 0 people.csv          # the first camera, until Ctrl-C
"""

import argparse
import csv
from contextlib import suppress

import gtpt
from gtpt.detect import make_detector

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", help="film, folder of frames, URL, or number of a camera")
parser.add_argument("table", help="*.csv to write")
parser.add_argument("--detector", default="yolox-nano")
args = parser.parse_args()

estimator = gtpt.PoseEstimator()
pipeline = gtpt.Pipeline(
    estimator,
    make_detector(args.detector),
    tracker=gtpt.Tracker(estimator.skeleton),  # ids from 1, never given twice
    smoother=gtpt.Smoother(),
    frames_at_once=1,  # a camera's people at once, and not eight frames later
)
names = estimator.skeleton.keypoints
columns = [f"{name}_{axis}" for name in names for axis in ("x", "y", "score")]
with open(args.table, "w", newline="") as file, gtpt.open_source(args.source) as source, suppress(KeyboardInterrupt):
    table = csv.writer(file)
    table.writerow(["frame", "seconds", "id", *columns])
    for frame, poses in ((result.frame, result.poses) for result in pipeline(source)):
        for person, points in zip(poses.ids, poses.to_numpy(), strict=True):  # (N,) and (N, K, 3)
            table.writerow([frame.index, f"{frame.time:.3f}", person, *points.ravel().round(2)])
print(f"look at {args.table}")
