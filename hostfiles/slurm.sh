#!/usr/bin/env bash
# A SLURM job that trains, and starts again where it has stopped: from the repository's folder, sbatch hostfiles/slurm.sh
#
# Build once on the login node (./launch.sh build); the folder must be visible to all nodes. One task is one rank on one core.
# SLURM sends SIGUSR1 to this shell two minutes before the time limit. Training then ends its step, writes a checkpoint and ends with exit
# code 75, and the job puts itself back into the queue. Submitted again it goes on from there too, also after scancel or a failure. By hand:
#   scancel --batch --signal=USR1 JOBID    as at the limit: checkpoint, back into the queue
#   scancel --batch --signal=INT JOBID     checkpoint and end
#   scancel JOBID                          the same, if the step ends before SLURM kills (KillWait, 30 s) and all is on one node
#SBATCH --job-name=densenet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --output=densenet-%j.log
#SBATCH --open-mode=append
set -u

run=${RUN:-runs/slurm}
training=(--data "${DATA:-/data/cifar-10-batches-bin}" --model densenet-bc-100-12 --out "$run" --resume auto)

# mpirun takes the ranks from the allocation.
./launch.sh train "${training[@]}" &
# Where SLURM's own PMIx plugin fits Open MPI's, srun can start the ranks instead; put these lines in place of the one above:
#   export OPENBLAS_NUM_THREADS=1
#   srun --mpi=pmix --cpu-bind=cores .build/release/densenet train "${training[@]}" &
job=$! at_limit=''

trap 'at_limit=yes; kill -USR1 "$job"' USR1
trap 'kill -USR1 "$job"' INT
trap 'at_limit=' TERM # scancel or preemption: training gets it too, and whether the job starts again is for SLURM to say

while kill -0 "$job" 2>/dev/null; do wait "$job"; done # a signal ends `wait`, not training
wait "$job"
code=$?
if ((code == 75)) && [[ $at_limit ]]; then
    scontrol requeue "$SLURM_JOB_ID" || echo "could not be put back into the queue; submit it again, and it goes on from there" >&2
fi
exit "$code"
