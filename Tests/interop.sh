#!/usr/bin/env bash
# Holds files of this program against the real packages that read them, and prints a table; exits with 1 where a check fails. What cannot
# be installed is skipped, and the table says so.
#   interop.sh export    weights in each format of `densenet export`: numpy, onnx, onnxruntime, torch, torchvision, timm; about 1 GB
#   interop.sh pictures  a folder of pictures, its list, transforms and logits: torchvision
#   interop.sh events    the event files of runs, one of them stopped, killed and resumed: tensorboard
#   interop.sh           all
# Needs python3 with venv and a package index; works in a temporary folder. INTEROP_TORCH may name the torch to install where that of
# download.pytorch.org cannot be had, such as torch==2.13.0+cpu of a folder in PIP_FIND_LINKS.
set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."
parts=("$@")
((${#parts[@]})) || parts=(export pictures events)
for part in "${parts[@]}"; do
    [[ $part == export || $part == pictures || $part == events ]] ||
        { echo "interop.sh: $part is neither export nor pictures nor events" >&2; exit 64; }
done
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

swift build --product densenet
bin=$(swift build --show-bin-path)
python3 -m venv "$work/python"
pip() { "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
failed=0

install_torch() {
    if [[ -n ${INTEROP_TORCH:-} ]]; then
        pip "$INTEROP_TORCH" torchvision || echo "cannot install $INTEROP_TORCH and torchvision" >&2
    else
        # Builds without CUDA, a tenth of the size of those of the general index.
        pip torch torchvision --index-url https://download.pytorch.org/whl/cpu || echo "cannot install torch and torchvision" >&2
    fi
}

check_export() {
    swift build --product ExportTestProgram
    for package in numpy safetensors onnx onnxruntime; do
        pip "$package" || echo "cannot install $package" >&2
    done
    install_torch
    # Without torch, timm would bring one with CUDA.
    if "$work/python/bin/python" -c 'import torch' 2>/dev/null; then
        pip timm || echo "cannot install timm" >&2
    fi
    mkdir "$work/files"
    "$bin/ExportTestProgram" "$work/files"
    "$work/python/bin/python" Tests/interop.py "$bin/densenet" "$work/files"
}

check_pictures() {
    for product in ExportTestProgram PictureTestProgram; do swift build --product "$product"; done
    pip numpy pillow || echo "cannot install numpy and pillow" >&2
    install_torch
    mkdir "$work/weights" "$work/pictures"
    "$bin/ExportTestProgram" "$work/weights"
    "$bin/densenet" export --to pytorch "$work/weights/densenet121.pth" --weights "$work/weights/densenet121.safetensors"
    "$work/python/bin/python" Tests/interop_pictures.py "$bin/PictureTestProgram" "$work/weights/densenet121" "$work/pictures"
}

check_events() {
    pip tensorboard || echo "cannot install tensorboard" >&2
    mkdir "$work/runs"
    "$work/python/bin/python" Tests/interop_events.py "$bin/densenet" "$work/runs"
}

for part in "${parts[@]}"; do
    "check_$part" || failed=1
done
exit "$failed"
