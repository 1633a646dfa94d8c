#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libc's functions in a -static program, where dlsym cannot find them behind our hooks: they are there
# with -Wl,-u,co_static (co_hook/symbols/static_names.h), and the program is told where they are not.
# Hooks whose place libc.a's own functions take: the report knows, and --wrap brings them back.
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
said=$(timeout 60 "$scratch/static" 2>"$scratch/errors")
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

cat >"$scratch/lookup.c" <<'C'
#include "co_hook.h"
#include "co_routine.h"
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
static int others_ran;
static void *other(void *unused) { others_ran = 1; return unused; }
static void *look_up(void *unused) {
    static char text[1 << 20];
    struct addrinfo *found = 0;
    co_enable_hook_sys();
    if (getaddrinfo("localhost", "80", 0, &found) == 0)
        freeaddrinfo(found);
    FILE *out = fmemopen(text, sizeof text, "w");
    int lost = co_hook_report(out);
    fclose(out);
    int told = (strstr(text, "\ngetaddrinfo                 helper      names        libc ") != 0) +
               2 * (strstr(text, "\ngetaddrinfo                 helper      names        corun ") != 0);
    /* (libc's own may wait in our other hooks.) */
    printf("%d %d %d %d, read %d, %s\n", co_hook_is_hooked("getaddrinfo"), co_hook_is_hooked("syslog"),
           told, told == 2 && others_ran, co_hook_is_hooked("read"), lost ? "some lost" : "none lost");
    setlogmask(setlogmask(0));
    syslog(LOG_DEBUG, "static_test");
    return unused;
}
int main() {
    stCoRoutine_t *co[2];
    co_go(&co[0], 0, look_up, 0);
    co_go(&co[1], 0, other, 0);
    co_run();
    co_release(co[0]);
    co_release(co[1]);
}
C
expect() { # what is proven, the line on stdout, how often a --wrap is advised; the program
    local said
    said=$(timeout 20 "$4" 2>"$scratch/errors")
    if [ "$said" = "$2" ] && [ "$(grep -c -e '-Wl,--wrap=' "$scratch/errors")" = "$3" ]; then
        echo "ok - $1"
    else
        echo "$said"
        cat "$scratch/errors"
        echo "not ok - $1"
        status=1
    fi
}
link "$scratch/lost" "$scratch/lookup.c" -Wl,-u,co_static
expect "where libc.a's own functions took the place of hooks, the report and one line say so" \
    '0 0 1 0, read 1, some lost' 1 "$scratch/lost"
advised=$(sed -n 's/.*Link it with \(-Wl,--wrap=[^ ]*\)\.$/\1/p' "$scratch/errors")
link "$scratch/wrapped" "$scratch/lookup.c" -Wl,-u,co_static "$advised"
expect 'with what that line advises the hooks are in effect' '1 1 2 1, read 1, some lost' 0 "$scratch/wrapped"
link "$scratch/wrapped_program" tests/preload/static_program.cpp -Wl,-u,co_static "$advised"
expect "and libc's functions behind them are found" '0 wrong' 0 "$scratch/wrapped_program"
exit $status
