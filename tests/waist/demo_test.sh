#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A small run of what `make demo` runs: three columns, no wrong byte, no error, and 0.
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
[ "${ARCH:-x86_64}" = x86_64 ] && [ -e "$B/libcorun_waist.so" ] && [ -x "$B/corun" ] || { echo 'corun is not built'; exit 77; }
[ -x "$B/perf/demo" ] || { echo 'perf/demo is not built'; exit 77; }
said=$(timeout 100 "$B/perf/demo" --connections 200 --seconds 1 2>&1)
code=$?
status=0
row() { # label, pattern of the three columns
    grep -qE "^ *$1 +$2$" <<<"$said" && echo "ok - $1" && return
    status=1
    echo "not ok - $1"
}
some='[0-9,.]*[1-9][0-9,.]*' # not 0, not -
[ $code = 0 ] && echo 'ok - it ends with 0' || { echo "not ok - it ends with 0, and not $code"; status=1; }
row connections '200 +200 +200'
row requests/s "$some +$some +$some"
row 'latency p99, ms' "$some +$some +$some"
row 'threads .*' '203 +203 +[1-9]'
row 'kernel stacks' '16,384 +16,384 +[0-9]+'
row 'bytes verified' "$some +$some +$some"
row 'wrong bytes' '0 +0 +0'
row errors '0 +0 +0'
compared() { # with what, in the line that says so
    grep -qE "^corun on one core against native threads on $1: [0-9.]+x requests/s, [0-9.]+x p99, [0-9.]+x memory$" <<<"$said" && echo "ok - against $1" && return
    status=1
    echo "not ok - against $1"
}
compared 'one core'
[ "$(nproc)" = 1 ] || compared "$(nproc), which the load shares"
[ $status = 0 ] || echo "$said"
exit $status
