#!/usr/bin/env bash
# Trains the bundled weights on, or goes on where an earlier call stopped: tools/train_bundled.sh ROUNDS [KEY=VALUE]...
# A round is two trainings at once that start from the same weights and see the people in another order; the average of both,
# runs/round_N.safetensors, is where the next one starts. At low priority, each on one core; kill it at any time. A teacher's
# maps are made once, of crops and with a teacher that are not part of this repository: docs/training.md says what they are.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:?how many rounds? See the first lines of this file}
shift
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
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # each saves a checkpoint first
start=gtpt-t-coco17
for ((round = 1; round <= rounds; round++)); do
  mean=runs/round_$round.safetensors
  halves=()
  if [ ! -f "$mean" ]; then
    for seed in $((2 * round - 1)) $((2 * round)); do
      out=runs/round_${round}_seed_$seed
      halves+=("$out/best.safetensors")
      nice -n 19 "$python" -m gtpt train --cfg configs/small/gtpt_t_192x256_teacher.yaml train.accelerator=cpu data.workers=1 \
        train.init="$start" train.epochs=3 train.validate_every=3 train.lr=0.0006 train.guidance=0 train.dense=0 \
        train.teacher=0.5 train.seed=$seed out="$out" "$@" &
    done
    wait -n # the first that fails ends the round
    wait -n
    "$python" -m gtpt average "${halves[@]}" -o "$mean"
  fi
  start=$mean
done
