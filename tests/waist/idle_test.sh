#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Idle stacks give back what they no longer use, and nothing else.
. "${SRC_DIR:-.}/tests/waist/same.sh"
under_corun "$B/tests/waist/idle_prog" >"$scratch/out" 2>&1 </dev/null
has() { grep -qx "$1" "$scratch/out"; }
verdict 'a thread that waits for long gives back what it once used' "has 'given back: 1'"
verdict 'nothing that is alive, also where a handler waits on an alternate stack' \
    "has 'all that was alive is: 1'"
exit $status
