#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A linker takes from libcorun.a only the objects that somebody names. CORUN_DEBUG=overflow must work
# all the same in a program that names nothing but co_create and co_resume; and with libcorun.so.
set -u
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
[ -z "${SAN:-}" ] || { echo "skip - CORUN_DEBUG=overflow in linked programs: the sanitizer has a SIGSEGV handler of its own"; exit 0; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0

cat >"$scratch/overflow.c" <<'END'
#include <co_routine.h>
#include <stdlib.h>
static int dig(int depth) {
    volatile char frame[200];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : dig(depth + 1) + frame[0];
}
static void *run(void *arg) {
    (void)arg;
    dig(0);
    return NULL;
}
int main(void) {
    stCoRoutine_t *co;
    if (co_create(&co, NULL, run, NULL))
        return 1;
    co_resume(co);
    return 0;
}
END
cc=(${CC:-cc} ${ARCHFLAGS:-} -O1 -Wno-infinite-recursion -Ico_routine "$scratch/overflow.c")

for kind in static shared; do
    case $kind in
    static) "${cc[@]}" -o "$scratch/$kind" "$B/libcorun.a" -pthread -ldl ;;
    shared) "${cc[@]}" -o "$scratch/$kind" -L"$B" -lcorun -Wl,-rpath,"$B" ;;
    esac || { echo "not ok - a program with the $kind library links"; status=1; continue; }
    # The shell's own word on the death of a child is none of ours.
    { CORUN_DEBUG=overflow "$scratch/$kind" 2>"$scratch/said"; code=$?; } 2>/dev/null
    if [ $code = 139 ] && grep -q '^corun: coroutine #1: stack overflow: its private stack has 131072 bytes' "$scratch/said"; then
        echo "ok - CORUN_DEBUG=overflow reports with the $kind library"
    else
        sed 's/^/# /' "$scratch/said"
        echo "not ok - CORUN_DEBUG=overflow reports with the $kind library (exit status $code)"
        status=1
    fi
done
exit $status
