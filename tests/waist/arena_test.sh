#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# malloc has one arena for the threads of a program under corun, unless the user chose their number.
. "${SRC_DIR:-.}/tests/waist/same.sh"
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD MALLOC_ARENA_MAX MALLOC_ARENA_TEST GLIBC_TUNABLES
prog=$B/tests/waist/arena_prog
[ "$("$prog")" != 'the one arena' ] || { echo 'skip - arenas of malloc: none for each thread here'; exit 0; }
says() { timeout 20 env "${@:2}" "$B/corun" "$prog" >"$scratch/out" 2>&1 && [ "$(cat "$scratch/out")" = "$1" ]; }
verdict 'threads have one arena' 'says "the one arena"'
verdict 'not where MALLOC_ARENA_MAX says how many' 'says "an arena of its own" MALLOC_ARENA_MAX=4'
verdict '... nor where glibc'"'"'s tunable does' 'says "an arena of its own" GLIBC_TUNABLES=glibc.malloc.arena_max=4'
verdict 'another tunable is another matter' 'says "the one arena" GLIBC_TUNABLES=glibc.malloc.tcache_count=0'
exit $status
