#!/usr/bin/env bash
# A SLURM job that trains and resumes where it has stopped: from the repository's folder, sbatch hostfiles/slurm.sh
#
# Build once on the login node (./launch.sh build); the folder must be visible to all nodes. One task is one rank on one core.
# SLURM's SIGTERM comes two minutes before the time limit; training then writes a checkpoint and the job ends with exit code 75.
# Submitted again, it resumes from there; SLURM does that by itself where slurm.conf has RequeueExit=75, and after a node has failed.
# scancel, scontrol requeue and preemption let the step end and write a checkpoint as well, if that takes no longer than SLURM waits
# before it kills (KillWait, 30 s); with longer steps stop it by: scancel --batch --signal=TERM JOBID
#SBATCH --job-name=densenet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --output=densenet-%j.log
#SBATCH --open-mode=append
set -euo pipefail

run=${RUN:-runs/slurm}
training=(--data "${DATA:-/data/cifar-10-batches-bin}" --model densenet-bc-100-12 --out "$run" --resume auto)

# exec: SLURM sends the signal to this shell alone, so launch.sh takes its place. mpirun takes the ranks from the allocation.
exec ./launch.sh train "${training[@]}"

# Where SLURM's own PMIx plugin fits Open MPI's, srun can start the ranks in place of mpirun: put this in place of the line above,
# and ask for the signal without "B:".
#   export OPENBLAS_NUM_THREADS=1
#   exec srun --mpi=pmix --cpu-bind=cores .build/release/densenet train "${training[@]}"
