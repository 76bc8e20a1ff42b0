#!/usr/bin/env bash
# Trains on a SLURM cluster: PARTITION=gpu GPUS=8 GPUS_PER_NODE=8 tools/slurm_train.sh CONFIG [options of tools/train.py]
# Further options of srun go into SRUN_ARGS.
set -euo pipefail
config=${1:?usage: PARTITION=... GPUS=8 tools/slurm_train.sh CONFIG [options of tools/train.py]}
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck disable=SC2086
exec srun ${PARTITION:+-p "$PARTITION"} --job-name="$(basename "$config" .py)" --gres="gpu:$per_node" \
    --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-6}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$here/train.py" "$config" --launcher slurm "${@:2}"
