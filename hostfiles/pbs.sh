#!/usr/bin/env bash
# A PBS job that trains, and goes on where it has stopped when it is submitted again: from the repository's folder, qsub hostfiles/pbs.sh
#
# Build once on the login node (./launch.sh build); the folder must be visible to all nodes. PBS has no signal before the limit, so the job
# stops itself ten minutes before: training ends its step, writes a checkpoint and ends with exit code 75. Jobs that wait for each other
# make a longer run; one that finds the run finished ends at once:
#   first=$(qsub hostfiles/pbs.sh); qsub -W depend=afterany:$first hostfiles/pbs.sh
# Keep HOURS and walltime alike.
#PBS -S /bin/bash
#PBS -N densenet
#PBS -l select=2:ncpus=16:mpiprocs=16
#PBS -l walltime=12:00:00
#PBS -j oe
set -eu

hours=${HOURS:-12}
run=${RUN:-runs/pbs}
cd -- "$PBS_O_WORKDIR"

# PBS names a host once a rank; Open MPI would take a host that is named once to have all its cores.
hosts=${TMPDIR:-/tmp}/hosts.$PBS_JOBID
awk '!ranks[$1]++ { order[++count] = $1 } END { for (i = 1; i <= count; ++i) print order[i], "slots=" ranks[order[i]] }' \
    "$PBS_NODEFILE" >"$hosts"

{ sleep $((hours * 3600 - 600)) && kill -USR1 $$; } >/dev/null 2>&1 &
# exec: the signals of PBS (qdel, the limit) then come to launch.sh once.
exec ./launch.sh --hostfile "$hosts" train --data "${DATA:-/data/cifar-10-batches-bin}" --model densenet-bc-100-12 \
    --out "$run" --resume auto
