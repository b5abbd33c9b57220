"""As in the original: `python tools/test.py --cfg FILE --checkpoint model_best.pth`, see `gtpt test`."""

import sys

from gtpt.cli import main

if __name__ == "__main__":
    main(["test", *sys.argv[1:]])
