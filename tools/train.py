"""As in the original: `python tools/train.py --cfg configs/coco/gtpt_t_256x192.yaml`, see `gtpt train`."""

import sys

from gtpt.cli import main

if __name__ == "__main__":  # loader processes import this file again
    main(["train", *sys.argv[1:]])
