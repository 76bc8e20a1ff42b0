#!/usr/bin/env bash
# Predicts wells on several GPUs of this machine: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]
# Not with torchrun, which would bury the messages under a traceback and change the exit status.
set -euo pipefail
usage='usage: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]'
config=${1:?$usage}
checkpoint=${2:?$usage}
gpus=${3:?$usage}
[[ $gpus =~ ^[1-9][0-9]*$ ]] || { echo "error: GPUS $gpus: not a number from 1 on. $usage" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
MASTER_PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export MASTER_ADDR=127.0.0.1 MASTER_PORT WORLD_SIZE=$gpus OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for ((rank = 0; rank < gpus; rank++)); do
    RANK=$rank LOCAL_RANK=$rank python "$here/predict.py" "$config" "$checkpoint" "${@:4}" --launcher pytorch &
    processes+=($!)
done
worst=0
for _ in "${processes[@]}"; do
    status=0
    wait -n || status=$?
    worst=$((status > worst ? status : worst))
    # 2 is bad input, which each process has told and after which they end by themselves
    if ((status != 0 && status != 2)); then
        echo "error: one of the $gpus processes has come to a bad end (status $status). Run the same command again with --resume." >&2
        break
    fi
done
exit "$worst"
