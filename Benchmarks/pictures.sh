#!/usr/bin/env bash
# Trains DenseNet-121 at 224 on a folder of pictures by densenet, without a cache and with one, and by PyTorch, in turn.
#
#     Benchmarks/pictures.sh PYTHON FOLDER [ALTERNATIONS]
#
# FOLDER has train and test, with 400 training pictures or more. PYTHON has torch and torchvision.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
python=${1:?usage: pictures.sh PYTHON FOLDER [ALTERNATIONS]}
folder=${2:?usage: pictures.sh PYTHON FOLDER [ALTERNATIONS]}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# CACHE: `27.6 images/s, waited 0.01 %` of the steps after the third.
ours() {
    rm -rf -- "$work/run"
    "$root/launch.sh" -n 2 train --data "$folder" --model densenet121 --batch-size 16 --epochs 1 --steps 23 --limit-test 16 \
        --step-metrics 1 --cache "$1" --quiet --out "$work/run" >/dev/null 2>&1
    python3 - "$work/run/metrics.jsonl" <<'PYTHON'
import json
import sys

steps = [row for row in map(json.loads, open(sys.argv[1])) if "step" in row][3:]
seconds = sum(16 / row["images_per_second"] for row in steps)
waited = sum(row["data_wait_seconds"] for row in steps)
print(f"{16 * len(steps) / seconds:.1f} images/s, waited {100 * waited / seconds:.2f} %")
PYTHON
}

"$root/launch.sh" env 2>/dev/null | grep -E '^(CPU|vector level)'
for ((i = 0; i < ${3:-3}; i++)); do
    echo "densenet:            $(ours none)"
    echo "densenet, --cache:   $(ours "$work/cache")"
    echo "PyTorch:             $("$python" "$root/Benchmarks/pytorch_pictures.py" "$folder" 20 16)"
done
