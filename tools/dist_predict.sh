#!/usr/bin/env bash
# Predicts wells on several GPUs of this machine: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]
# Not with torchrun, which buries messages under a traceback and changes the exit status.
set -euo pipefail
usage='usage: tools/dist_predict.sh CONFIG CHECKPOINT GPUS WELL_OR_FOLDER... --out DIR [options of tools/predict.py]'
config=${1:?$usage}
checkpoint=${2:?$usage}
gpus=${3:?$usage}
[[ $gpus =~ ^[1-9][0-9]*$ ]] || { echo "error: GPUS must be a number from 1 (got $gpus). $usage" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
export WORLD_SIZE=$gpus OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for ((rank = 0; rank < gpus; rank++)); do
    RANK=$rank LOCAL_RANK=$rank python "$here/predict.py" "$config" "$checkpoint" "${@:4}" --launcher pytorch &
    processes+=($!)
done
worst=0
for rank in "${!processes[@]}"; do
    status=0
    wait "${processes[$rank]}" || status=$?
    worst=$((status > worst ? status : worst))
    # Status 2 is bad input, which the process itself has reported.
    if ((status != 0 && status != 2)); then
        echo "error: process $rank of $gpus failed (status $status). Run the same command again with --resume." >&2
    fi
done
exit "$worst"
