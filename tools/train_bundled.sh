#!/usr/bin/env bash
# Trains the bundled weights on, or goes on where an earlier call stopped: tools/train_bundled.sh [STAGE of configs/small] [KEY=VALUE]...
# Runs at low priority on one core; kill it at any time. A teacher's maps are made once, of crops and with a teacher that are
# not part of this repository: docs/training.md says what they are.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=${1:-gtpt_t_192x256_teacher}
shift || true
python=${PYTHON:-.venv/bin/python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p runs/teacher
for part in coco coco_more lspet; do
  if [ ! -f "runs/teacher/$part.npz" ]; then
    nice "$python" ../shared/teacher/teacher.py "../shared/data/pose17_train_$part.zip" "runs/teacher/$part.part.npz" --flip --heat
    mv "runs/teacher/$part.part.npz" "runs/teacher/$part.npz"
  fi
done
allocator=/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4 # a sixth faster, where it is installed
[ -f "$allocator" ] && export LD_PRELOAD=$allocator TCMALLOC_RELEASE_RATE=0
exec nice -n 19 "$python" -m gtpt train --cfg "configs/small/$stage.yaml" train.accelerator=cpu train.init=gtpt-t-coco17 "$@"
