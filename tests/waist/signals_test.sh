#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Signals of threads that are coroutines: each part of the signals_*_prog says under corun what it says
# natively.
. "${SRC_DIR:-.}/tests/waist/same.sh"
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
for program in "$B"/tests/waist/signals_*_prog; do
    for part in $("$program"); do
        verdict "$(basename "$program") $part" \
            "same '$program' $part && grep -qx 'status 0' '$scratch/native'"
    done
done
exit $status
