#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libmariadb, unmodified, against MariaDB: 50 one-second queries on one thread, with the archive
# linked and with the shared library preloaded.
# sanitizers: address
source "$(dirname "$0")/servers.sh"
needs mariadb_client mariadbd

port=$(free_port)
own_directory data
socket=$scratch/data/socket
# An empty data directory will do: there are no users to look up, and no tables.
serve mariadb "${nobody[@]}" mariadbd --no-defaults --skip-grant-tables --datadir="$scratch/data" \
    --socket="$socket" --bind-address=127.0.0.1 --port="$port" --skip-name-resolve \
    --max-connections=70 --innodb-buffer-pool-size=8M --innodb-log-file-size=4M \
    --key-buffer-size=1M --aria-pagecache-buffer-size=1M --performance-schema=OFF
ready mariadb listening "$port"

all_at_once '50 one-second queries on one thread end within 1.5 s' 1.5 \
    mariadb_client 50 hooked "$port" "$socket"
all_at_once 'the same with the coroutines on four shared stacks' 1.5 \
    mariadb_client 50 shared "$port" "$socket"
one_by_one 'without hooks three take three seconds' 2.9 mariadb_client 3 blocking "$port" "$socket"

if [ -z "${SAN:-}" ]; then # a sanitizer wants to be preloaded first
    # The same object without the archive: what it wants of corun comes with the preloaded library.
    objcopy --wildcard --weaken-symbol='co_*' "$B/obj/tests/clients/mariadb_client.o" "$scratch/weak.o"
    ${CXX:-g++} ${ARCHFLAGS:-} "$scratch/weak.o" -o "$scratch/preloadable" -Wl,-z,dynamic-undefined-weak \
        $(pkg-config --libs libmariadb) -pthread
    so=$(readlink -f "$B/libcorun.so")
    verdict 'preloaded: the program has no hooks of its own' \
        "$(nm -D --defined-only "$scratch/preloadable" 2>&1 | grep -w 'poll\|nm:')"
    all_at_once 'preloaded, 50 one-second queries end within 1.5 s' 1.5 \
        env LD_PRELOAD="$so" "$scratch/preloadable" 50 hooked "$port" "$socket"
fi

"$B/example/mariadb_queries" 127.0.0.1 "$port" root '' >"$scratch/example.log" 2>&1
verdict 'example/mariadb_queries prints what it should' \
    "$(diff example/mariadb_queries.expected "$scratch/example.log")"
exit $status
