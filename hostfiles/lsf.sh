#!/usr/bin/env bash
# An LSF job that trains, and starts again where it has stopped: from the repository's folder, bsub < hostfiles/lsf.sh
#
# Build once on the login node (./launch.sh build); the folder must be visible to all nodes. LSF sends SIGUSR1 ten minutes before the
# limit: training ends its step, writes a checkpoint and ends with exit code 75, which puts the job back into the queue (-Q).
#BSUB -J densenet
#BSUB -n 32
#BSUB -R "span[ptile=16]"
#BSUB -W 12:00
#BSUB -wa USR1
#BSUB -wt 10
#BSUB -Q "75"
#BSUB -o densenet-%J.log
set -eu

run=${RUN:-runs/lsf}

# LSF names a host once a rank; Open MPI would take a host that is named once to have all its cores.
hosts=${TMPDIR:-/tmp}/hosts.$LSB_JOBID
awk '!ranks[$1]++ { order[++count] = $1 } END { for (i = 1; i <= count; ++i) print order[i], "slots=" ranks[order[i]] }' \
    "$LSB_DJOB_HOSTFILE" >"$hosts"

export OMPI_MCA_plm_rsh_agent=blaunch # in place of ssh, which LSF would not know of
# exec: the signals of LSF then come to launch.sh once.
exec ./launch.sh --hostfile "$hosts" train --data "${DATA:-/data/cifar-10-batches-bin}" --model densenet-bc-100-12 \
    --out "$run" --resume auto
