#!/usr/bin/env bash
# Runs infimm-eval on every node of a SLURM allocation:
#     sbatch --nodes=4 --gpus-per-node=8 slurm.sh --model FOLDER --tasks coco,vqav2 --data DIR --output FOLDER
#SBATCH --job-name=infimm-eval
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --requeue
set -euo pipefail

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN # srun takes the environment along

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
folder=/tmp/ie-ray-$SLURM_JOB_ID # on each node; a socket's path is short

trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --temp-dir="$folder" --include-dashboard=false --block >/dev/null &
until ray health-check --address="$head:$port" >/dev/null 2>&1; do
    kill -0 $! # the head is gone: there is nothing to wait for
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 --exclude="$head" \
        ray start --address="$head:$port" --block >/dev/null &
fi

python -m infimm_eval "$@" --ray "$head:$port"
