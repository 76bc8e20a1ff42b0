#!/usr/bin/env bash
# Scores a checkpoint on several GPUs of this machine: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
set -euo pipefail
config=${1:?usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]}
checkpoint=${2:?usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]}
gpus=${3:?usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]}
here=$(dirname "${BASH_SOURCE[0]}")
exec python -m torch.distributed.run --standalone --nproc_per_node "$gpus" \
    "$here/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
