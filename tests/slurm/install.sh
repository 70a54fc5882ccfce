#!/usr/bin/env bash
# Slurm and munge, from Debian's packages when they are missing. Starts nothing: cluster.py does, in a folder of its own.
# Exit status 1, with the reason on one line, when they are not there and cannot be installed.
set -u
missing() { ! command -v munged || ! command -v slurmctld || ! command -v slurmd || ! command -v sbatch; } >/dev/null

PATH=$PATH:/usr/sbin:/sbin
missing || exit 0
if ! command -v apt-get >/dev/null; then
    echo "no Slurm here (munged, slurmctld, slurmd, sbatch), and no apt-get to install it with" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "no Slurm here; as root: apt-get install --no-install-recommends slurm-wlm munge" >&2
    exit 1
fi
echo "installing slurm-wlm and munge ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { timeout 120 apt-get update && timeout 300 apt-get install -y --no-install-recommends slurm-wlm munge; } >"$log" 2>&1 || missing; then
    tail -n 3 "$log" >&2
    echo "slurm-wlm and munge could not be installed" >&2
    exit 1
fi
