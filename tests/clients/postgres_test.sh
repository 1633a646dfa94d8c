#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libpq, unmodified, against PostgreSQL: 50 one-second queries on one thread.
# sanitizers: address
source "$(dirname "$0")/servers.sh"
needs postgres_client postgres initdb pg_isready

port=$(free_port)
own_directory data
cd "$scratch" # nobody may not stand in the tree
"${nobody[@]}" initdb -D "$scratch/data" --no-sync -A trust --no-locale -E UTF8 -U corun \
    >"$scratch/initdb.log" 2>&1 ||
    { verdict 'the data directory of PostgreSQL' "$(tail "$scratch/initdb.log")"; exit 1; }
serve postgres "${nobody[@]}" postgres -D "$scratch/data" -h 127.0.0.1 -p "$port" -k "$scratch/data" \
    -c max_connections=70 -c shared_buffers=8MB -c fsync=off -c autovacuum=off -c max_wal_senders=0
cd "${SRC_DIR:-$OLDPWD}"
ready postgres pg_isready -q -h 127.0.0.1 -p "$port"

all_at_once '50 one-second queries on one thread end within 1.5 s' 1.5 \
    postgres_client 50 hooked "$port" "$scratch/data"
all_at_once 'the same with the coroutines on four shared stacks' 1.5 \
    postgres_client 50 shared "$port" "$scratch/data"
one_by_one 'without hooks three take three seconds' 2.9 \
    postgres_client 3 blocking "$port" "$scratch/data"
exit $status
