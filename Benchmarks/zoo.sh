#!/usr/bin/env bash
# Prints a Markdown table of the networks of the paper (arXiv 1608.06993): parameters beside the published number, work of an image
# (multiply-accumulates, forward), memory of a training step as predicted (describe) and as measured (bench), and its speed.
#
#     Benchmarks/zoo.sh [BATCH] [STEPS] [NETWORK …]      NETWORK: a model, or model@image, as densenet121@32
#
# One rank uses all cores. Measured memory is the process's, so it has MPI, libraries, threads and batches beside what is predicted.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/..
batch=${1:-8} steps=${2:-3}
shift $(($# < 2 ? $# : 2))
(($#)) || set -- densenet-40-12 densenet-100-12 densenet-100-24 densenet-bc-100-12 densenet-bc-250-24 densenet-bc-190-40 \
    densenet121@224 densenet161@224 densenet169@224 densenet201@224 densenet264@224 densenet121@32

# The paper's table 2 has millions, torchvision's networks (of 1000 classes) the whole number. Neither has DenseNet-264.
published() {
    case $1 in
        densenet-40-12) echo '1.0 M (paper)' ;;
        densenet-100-12) echo '7.0 M (paper)' ;;
        densenet-100-24) echo '27.2 M (paper)' ;;
        densenet-bc-100-12) echo '0.8 M (paper)' ;;
        densenet-bc-250-24) echo '15.3 M (paper)' ;;
        densenet-bc-190-40) echo '25.6 M (paper)' ;;
        densenet121) echo '7,978,856 (torchvision)' ;;
        densenet161) echo '28,681,000 (torchvision)' ;;
        densenet169) echo '14,149,480 (torchvision)' ;;
        densenet201) echo '20,013,928 (torchvision)' ;;
        *) echo '—' ;;
    esac
}

# A number of the JSON object on standard input, not of those in it.
number() { sed -n "s/^  \"$1\" : \([0-9.e+-]*\),\{0,1\}$/\1/p"; }
grouped() { sed ":a; s/^\([0-9]*[0-9]\)\([0-9]\{3\}\)/\1,\2/; ta" <<<"$1"; }

"$root/launch.sh" env | sed -n 's/^\(CPU\|vector level\|cores\) */\1: /p'
echo
echo "One rank, batch $batch, median of $steps steps."
echo
echo '| network | image | parameters | published | MMAC an image | memory predicted, MiB | measured, MiB | images/s |'
echo '|---|---|---|---|---|---|---|---|'
for network in "$@"; do
    model=${network%@*} size=()
    [[ $network == "$model" ]] || size=(--image "${network#*@}")
    description=$("$root/launch.sh" describe "$model" "${size[@]}" --batch-size "$batch" --json)
    bench=$("$root/launch.sh" -n 1 bench --model "$model" "${size[@]}" --batch-size "$batch" --steps "$steps" --json)
    image=$(sed -n 's/^    "image" : \([0-9]*\),\{0,1\}$/\1/p' <<<"$bench")
    awk -v OFS=' | ' -v name="$model" -v image="$image×$image" -v parameters="$(grouped "$(number parameters <<<"$description")")" \
        -v published="$(published "$model")" -v work="$(number multiplyAccumulates <<<"$description")" \
        -v predicted="$(number trainingBytes <<<"$description")" -v measured="$(number peakMemoryBytes <<<"$bench")" \
        -v rate="$(number imagesPerSecond <<<"$bench")" 'BEGIN {
            row = sprintf("%.0f | %.0f | %.0f | %.1f", work / 1e6, predicted / 1048576, measured / 1048576, rate)
            print "| " name, image, parameters, published, row " |"
        }'
done
