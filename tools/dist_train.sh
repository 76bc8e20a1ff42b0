#!/usr/bin/env bash
# Trains on several GPUs of this machine: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
set -euo pipefail
config=${1:?usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]}
gpus=${2:?usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]}
here=$(dirname "${BASH_SOURCE[0]}")
exec python -m torch.distributed.run --standalone --nproc_per_node "$gpus" \
    "$here/train.py" "$config" --launcher pytorch "${@:3}"
