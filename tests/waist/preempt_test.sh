#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Threads that compute and spin say under corun what they say natively: that is, they end at all.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=${BUILD_DIR:-build/x86_64}
[ -e "$B/libcorun_waist.so" ] || { echo "skip - preemption: libcorun_waist.so is not built"; exit 0; }
native=$(timeout 60 "$B/tests/waist/preempt_prog")
ours=$(timeout 100 "$B/corun" "$B/tests/waist/preempt_prog")
if [ "$native" = "$ours" ] && grep -q 'counted: 1' <<<"$ours"; then
    echo "ok - threads that compute, spin and count take turns, and every register comes back"
else
    diff <(echo "$native") <(echo "$ours")
    echo "not ok - threads that compute, spin and count take turns, and every register comes back"
    exit 1
fi
