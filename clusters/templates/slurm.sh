#!/bin/bash
# A sweep on a Slurm allocation:  sbatch clusters/templates/slurm.sh sweep.yaml [swathe submit options]
# Ray runs on all nodes of the allocation and ends with it. Pre-empted or out of time, the sweep is drained, so that
# trials are kept at their checkpoints, and the job goes back into the queue; there the same command goes on.
#SBATCH --job-name=swathe
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180

set -euo pipefail

spec=${1:?name a spec: sbatch slurm.sh sweep.yaml}
shift
cluster=${SWATHE_CLUSTER:-existing}

# Whoever knows the token may run code on the nodes, so it is made for this job and is no argument of any command.
RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))

swathe_name() {
    sed -n 's/^name:[[:space:]]*\([A-Za-z0-9._-]*\).*/\1/p' "$spec" | head -n 1
}

requeue() {
    trap '' USR1 TERM
    # One of our processes on the head node asks for the drain; --wait ends when it is done.
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" swathe stop "$(swathe_name)" --cluster "$cluster" || true
    wait "$sweep" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}

trap requeue USR1 TERM

srun ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_NNODES" --num-cpus "$SLURM_CPUS_PER_TASK" \
    -- swathe submit "$spec" --cluster "$cluster" --wait "$@" &
sweep=$!
wait "$sweep"
