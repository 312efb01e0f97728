#!/bin/sh
# One of three members on this machine, in a terminal each: sh member.sh 0, sh member.sh 1, sh member.sh 2.
# The worker runs on the one that leads.
set -e
port=${FIRST_PORT:-7400}
data=${DATA:-$(dirname "$0")/data}/raftq-$1
mkdir -p "$data"
exec raftq run --name "raftq-$1" --data "$data" --profile steady \
    --peers "raftq-0=127.0.0.1:$port,raftq-1=127.0.0.1:$((port + 1)),raftq-2=127.0.0.1:$((port + 2))" \
    --raft-host 127.0.0.1 --raft-port $((port + $1)) \
    --http-host 127.0.0.1 --http-port $((port + 80 + $1)) \
    -- python3 "$(dirname "$0")/worker.py"
