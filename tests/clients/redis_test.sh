#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hiredis, unmodified, against Redis: 50 coroutines of one thread wait in BLPOP and are woken in an order
# that has nothing to do with the one they came in.
# sanitizers: address
source "$(dirname "$0")/servers.sh"
needs redis_client redis-server

port=$(free_port)
own_directory data
socket=$scratch/data/socket
serve redis "${nobody[@]}" redis-server --bind 127.0.0.1 --port "$port" --unixsocket "$socket" \
    --unixsocketperm 777 --save '' --appendonly no --dir "$scratch/data"
ready redis listening "$port"

for seed in 1 2 3; do
    all_at_once "50 BLPOPs woken in shuffled order, seed $seed" 0 \
        redis_client 50 hooked "$port" "$socket" 0 $seed
done
all_at_once 'the same with the coroutines on four shared stacks' 0 \
    redis_client 50 shared "$port" "$socket" 0 4
all_at_once '50 BLPOPs that nobody wakes end together by their time limit' 5 \
    redis_client 50 quiet "$port" "$socket" 1 0
one_by_one 'without hooks three such take three seconds' 2.9 \
    redis_client 3 blocking "$port" "$socket" 1 0
exit $status
