#!/usr/bin/env bash
# Runs densenet bench and the PyTorch peer in turn and prints each pair, and of each network the median ratio, its spread and the memory.
#
#     Benchmarks/compare.sh PYTHON [ALTERNATIONS] [MODEL …]      MODEL: bc-100-12 40-12 121-32 121-224 evaluate
#
# With DENSENET_SIMD=v3 both are held to AVX2.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
python=${1:?usage: compare.sh PYTHON [ALTERNATIONS] [MODEL …]}
alternations=${2:-5}
shift $(($# < 2 ? $# : 2))
(($#)) || set -- bc-100-12 40-12 121-32 121-224 evaluate
peer_limits=()
[[ ${DENSENET_SIMD:-} != v3 ]] || peer_limits=(ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2)

# The first two lines: `111.5 images/s …` and `… vector level v3, peak 287 MiB per rank`.
ours() { "$root/launch.sh" -n 2 bench "$@" 2>/dev/null | sed -n 1,2p; }
# One line: `32.7 images/s … peak 3119 MiB)`. The peer chooses its own threads.
peer() { env -u OMP_NUM_THREADS "${peer_limits[@]}" "$python" "$root/Benchmarks/pytorch_peer.py" "$@" 2>/dev/null; }

rate() { head -n 1 | cut -d ' ' -f 1; }
mebibytes() { grep -o 'peak [0-9]* MiB' | cut -d ' ' -f 2; }

"$root/launch.sh" env 2>/dev/null | grep -E '^(CPU|vector level)'
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
        our_rate=$(rate <<<"$a") peer_rate=$(rate <<<"$b")
        ratio=$(awk "BEGIN { printf \"%.2f\", $our_rate / $peer_rate }")
        ratios+=("$ratio")
        echo "$model: densenet $our_rate, PyTorch $peer_rate images/s, ratio $ratio"
    done
    mapfile -t ratios < <(printf '%s\n' "${ratios[@]}" | sort -g)
    echo "$model: median ratio ${ratios[${#ratios[@]} / 2]} (${ratios[0]} to ${ratios[-1]});" \
        "memory: densenet $(mebibytes <<<"$a") MiB a rank, PyTorch $(mebibytes <<<"$b") MiB"
done
