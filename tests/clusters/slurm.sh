#!/usr/bin/env bash
# A SLURM of one machine with two slots, everything below one folder: munged, slurmctld and slurmd, without systemd.
#
#     eval "$(tests/clusters/slurm.sh start DIR)"     # prints: export SLURM_CONF=DIR/slurm.conf
#     tests/clusters/slurm.sh stop DIR
#
# DIR must be new, and its path short: the socket of munged lies in it. Needs Debian's slurm-wlm and munge. Started by
# root or by a user, who then is the only one to start jobs.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

fail() {
    echo "error: $1" >&2
    exit 1
}

free_ports() {
    python3 - <<'PYTHON'
import socket

sockets = [socket.socket() for _ in range(2)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

configuration() {
    local host user controller_port node_port
    host=$(hostname -s)
    user=$(id -un)
    read -r controller_port node_port < <(free_ports)
    cat <<CONFIGURATION
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$1/munge.socket
CredType=cred/munge
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MaxArraySize=${MAX_ARRAY_SIZE:-1001}
OverTimeLimit=0
KillWait=5
ReturnToService=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONFIGURATION
}

# Whether a process is one of ours: its number may belong to another one by now.
runs() {
    local process
    process=$(cat "$1/$2.pid" 2>/dev/null) && [ "$(cat "/proc/$process/comm" 2>/dev/null)" = "$2" ]
}

stop() {
    local name process end
    export SLURM_CONF=$1/slurm.conf
    if runs "$1" slurmctld && runs "$1" slurmd; then # or its jobs would outlive it
        timeout 10 scancel --quiet --user="$(id -u)" || true
        end=$((SECONDS + 15))
        while [ -n "$(timeout 10 squeue --noheader 2>/dev/null)" ] && ((SECONDS < end)); do sleep 0.2; done
    fi
    for name in slurmctld slurmd munged; do
        runs "$1" "$name" || continue
        process=$(cat "$1/$name.pid")
        kill "$process" 2>/dev/null || true
        end=$((SECONDS + 10))
        while kill -0 "$process" 2>/dev/null && ((SECONDS < end)); do sleep 0.1; done
        kill -KILL "$process" 2>/dev/null || true
    done
}

start() {
    local end name
    for name in munged slurmctld slurmd sinfo; do
        command -v "$name" >/dev/null || fail "$name is missing; apt-get install slurm-wlm munge"
    done
    [ ! -e "$1/slurm.conf" ] || fail "$1 has been used; give a new folder"
    mkdir -p "$1/state" "$1/spool"
    chmod 755 "$1"
    (umask 077 && dd if=/dev/urandom of="$1/munge.key" bs=1024 count=1 2>/dev/null)
    configuration "$1" >"$1/slurm.conf"
    export SLURM_CONF=$1/slurm.conf
    # Forced, as the folder may lie in one that only its owner can enter.
    munged --force --socket="$1/munge.socket" --key-file="$1/munge.key" --pid-file="$1/munged.pid" \
        --log-file="$1/munged.log" --seed-file="$1/munged.seed" 2>>"$1/munged.log" || fail "munged: see $1/munged.log"
    slurmctld >>"$1/slurmctld.log" 2>&1 || fail "slurmctld: see $1/slurmctld.log"
    slurmd >>"$1/slurmd.log" 2>&1 || fail "slurmd: see $1/slurmd.log"
    end=$((SECONDS + 30))
    until [ "$(timeout 10 sinfo --noheader --format=%t 2>/dev/null)" = idle ]; do
        ((SECONDS < end)) || fail "the node is not ready after 30 s: see $1/slurmctld.log and $1/slurmd.log"
        sleep 0.2
    done
    echo "export SLURM_CONF=$1/slurm.conf"
}

[ $# = 2 ] || fail "usage: $0 start|stop DIR"
folder=$(realpath -m "$2")
case $1 in
start)
    trap 'stop "$folder"' EXIT # whatever has started already, should the rest fail
    start "$folder"
    trap - EXIT
    ;;
stop) stop "$folder" ;;
*) fail "usage: $0 start|stop DIR" ;;
esac
