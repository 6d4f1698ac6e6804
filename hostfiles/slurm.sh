#!/usr/bin/env bash
# A SLURM job that trains and can be submitted again to go on: from the repository's folder, sbatch hostfiles/slurm.sh
#
# Build once on the login node (./launch.sh build); the folder must be visible to all nodes. One task is one rank on one core.
# SLURM's SIGTERM comes two minutes before the time limit; training then writes a checkpoint and the job ends with exit code 75.
# To stop it by hand with a checkpoint: scancel --batch --signal=TERM JOBID (a plain scancel kills the ranks).
#SBATCH --job-name=densenet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=densenet-%j.log
set -euo pipefail

data=${DATA:-/data/cifar-10-batches-bin}
run=${RUN:-runs/slurm}

# exec: SLURM sends the signal to this shell alone, so launch.sh takes its place. mpirun takes the ranks from the allocation.
if [[ -d $run/checkpoints ]]; then
    exec ./launch.sh train --resume "$run"
fi
exec ./launch.sh train --data "$data" --model densenet-bc-100-12 --out "$run"

# Where SLURM's own PMIx plugin fits Open MPI's, srun can start the ranks in place of mpirun; ask for the signal without B: then:
#   OPENBLAS_NUM_THREADS=1 srun --mpi=pmix --cpu-bind=cores .build/release/densenet train --data "$data" --out "$run"
