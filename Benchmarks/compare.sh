#!/usr/bin/env bash
# Runs densenet bench and the PyTorch peer in turn and prints each pair, the ratios and their median.
# usage: Benchmarks/compare.sh PYTHON [ALTERNATIONS] [MODEL …]      MODEL: bc-100-12 40-12 121-32 121-224 evaluate
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
python=${1:?usage: compare.sh PYTHON [ALTERNATIONS] [MODEL …]}
alternations=${2:-5}
shift $(($# < 2 ? $# : 2))
(($#)) || set -- bc-100-12 40-12 121-32 121-224 evaluate

ours() { "$root/launch.sh" -n 2 bench "$@" 2>/dev/null | head -n 1 | cut -d ' ' -f 1; }
# The peer chooses its own threads.
peer() { env -u OMP_NUM_THREADS "$python" "$root/Benchmarks/pytorch_peer.py" "$@" 2>/dev/null | cut -d ' ' -f 1; }

for model in "$@"; do
    ratios=()
    for ((i = 0; i < alternations; i++)); do
        # The peer's mode is the fastest of eager, channels_last and compile, with one process of two threads or two ranks.
        case $model in
            bc-100-12) a=$(ours --model densenet-bc-100-12 --steps 8) b=$(peer bc-100-12 64 4 --mode channels_last) ;;
            40-12) a=$(ours --model densenet-40-12 --steps 8) b=$(peer 40-12 64 4 --mode channels_last) ;;
            121-32) a=$(ours --model densenet121 --image 32 --classes 10 --steps 20) b=$(peer 121-32 64 8 --mode channels_last) ;;
            121-224) a=$(ours --model densenet121 --batch-size 16 --steps 5) b=$(peer 121-224 16 3 --mode channels_last) ;;
            evaluate) a=$(ours --model densenet-bc-100-12 --evaluate --steps 12) b=$(peer bc-100-12 64 8 --mode channels_last --evaluate) ;;
            *) echo "unknown model $model" >&2 && exit 64 ;;
        esac
        ratio=$(awk "BEGIN { printf \"%.2f\", $a / $b }")
        ratios+=("$ratio")
        echo "$model: densenet $a, PyTorch $b images/s, ratio $ratio"
    done
    median=$(printf '%s\n' "${ratios[@]}" | sort -g | awk '{ r[NR] = $1 } END { print r[int((NR + 1) / 2)] }')
    echo "$model: median ratio $median"
done
