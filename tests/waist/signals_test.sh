#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Signals of threads that are coroutines: each part of signals_prog and signals_lives_prog says the same
# natively and under corun. SIGTERM ends a process of parked threads, or reaches its handler.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ "${ARCH:-x86_64}" = x86_64 ] || { echo 'corun is for x86_64'; exit 77; }
[ -e "$B/libcorun_waist.so" ] || { echo 'libcorun_waist.so is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD

waist() { env LD_PRELOAD="$B/libcorun_waist.so" "$@"; }
trace() { # how, program, part
    timeout 40 "$1" "$2" "$3" 2>&1
    echo "status $?"
}
directly() { "$@"; }
export B
export -f waist directly

for program in signals_prog signals_lives_prog; do
    for part in $("$B/tests/waist/$program"); do
        timeout 40 "$B/tests/waist/$program" "$part" >"$scratch/native" 2>&1
        echo "status $?" >>"$scratch/native"
        timeout 40 env LD_PRELOAD="$B/libcorun_waist.so" "$B/tests/waist/$program" "$part" >"$scratch/waist" 2>&1
        echo "status $?" >>"$scratch/waist"
        diff "$scratch/native" "$scratch/waist" >"$scratch/out"
        verdict "$program $part" "[ ! -s '$scratch/out' ] && grep -qx 'status 0' '$scratch/native'"
    done
done
exit $status
