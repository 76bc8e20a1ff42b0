#!/usr/bin/env bash
# Predicts wells on several GPUs of this machine: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]
set -euo pipefail
usage='usage: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]'
config=${1:?$usage}
checkpoint=${2:?$usage}
gpus=${3:?$usage}
here=$(dirname "${BASH_SOURCE[0]}")
exec python -m torch.distributed.run --standalone --nproc_per_node "$gpus" \
    "$here/predict.py" "$config" "$checkpoint" "${@:4}" --launcher pytorch
