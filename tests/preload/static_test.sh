#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libc's functions in a -static program, where dlsym cannot find them behind our hooks: they are there
# with -Wl,-u,co_static (co_hook/symbols/static_names.h), and the program is told where they are not.
set -u
cd "${SRC_DIR:-.}"
B=${BUILD_DIR:-build/x86_64} CXX=${CXX:-g++}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
link() { # program, source, more...
    local out=$1 source=$2
    shift 2
    $CXX ${ARCHFLAGS:-} -O1 -w -std=c++20 -Ico_routine -Ico_hook -static "$source" "$B/libcorun.a" "$@" \
        -pthread -o "$out" 2>"$scratch/log" && return
    grep -v 'Using \|in function' "$scratch/log" | head
    echo "not ok - $(basename "$out") links"
    exit 1
}
link "$scratch/static" tests/preload/static_program.cpp -Wl,-u,co_static
said=$(timeout 60 "$scratch/static" 2>&1)
if [ "$said" = '0 wrong' ]; then
    echo "ok - a -static program's libc, on threads and in coroutines"
else
    printf '%s\n' "$said" | head -30
    echo "not ok - a -static program's libc, on threads and in coroutines"
    status=1
fi

cat >"$scratch/hello.c" <<'C'
#include "co_routine.h"
static void *enable(void *unused) { co_enable_hook_sys(); return unused; }
int main() {
    stCoRoutine_t *co;
    co_go(&co, 0, (void *(*)(void *))enable, 0);
    co_run();
    co_release(co);
}
C
link "$scratch/without" "$scratch/hello.c"
said=$(timeout 20 "$scratch/without" 2>&1)
if [ "$(grep -c 'u,co_static' <<<"$said")" = 1 ]; then
    echo 'ok - what a -static program lacks is said once'
else
    echo "$said" | head
    echo 'not ok - what a -static program lacks is said once'
    status=1
fi
exit $status
