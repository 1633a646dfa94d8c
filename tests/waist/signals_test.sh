#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Signals of threads that are coroutines: each part of the signals_*_prog says under the waist what it
# says natively.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ "${ARCH:-x86_64}" = x86_64 ] || { echo 'corun is for x86_64'; exit 77; }
[ -e "$B/libcorun_waist.so" ] || { echo 'libcorun_waist.so is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD

for program in "$B"/tests/waist/signals_*_prog; do
    for part in $("$program"); do
        timeout 40 "$program" "$part" >"$scratch/native" 2>&1
        echo "status $?" >>"$scratch/native"
        timeout 40 env LD_PRELOAD="$B/libcorun_waist.so" "$program" "$part" >"$scratch/waist" 2>&1
        echo "status $?" >>"$scratch/waist"
        diff "$scratch/native" "$scratch/waist" >"$scratch/out"
        verdict "$(basename "$program") $part" \
            "[ ! -s '$scratch/out' ] && grep -qx 'status 0' '$scratch/native'"
    done
done
exit $status
