#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun beside what else people put in front of a program: allocators in either order, no_new_privs.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
[ -e "$B/libcorun_waist.so" ] || { echo "skip - beside others: libcorun_waist.so is not built"; exit 0; }
status=0
works() { # what, command: two threads take turns 1,000 times, without a switch of the kernel's
    if timeout 60 "${@:2}" 2>&1 | grep -qE 'each of 1000 hand-overs, [0-9]{1,2} context switches'; then
        echo "ok - $1"
    else
        timeout 60 "${@:2}" 2>&1 | head -5
        echo "not ok - $1"
        status=1
    fi
}
program=$(mktemp)
trap 'rm -f "$program"' EXIT
${CC:-cc} -O1 -w -pthread perf/pingpong.c -o "$program" || exit 1
works 'alone' "$B/corun" "$program" 1000
for library in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
    path=/usr/lib/x86_64-linux-gnu/$library
    if [ ! -e "$path" ]; then
        echo "skip - beside $library: not installed"
        continue
    fi
    works "in front of $library" env LD_PRELOAD="$path" "$B/corun" "$program" 1000
    works "behind $library" env LD_PRELOAD="$path:$B/libcorun_waist.so" "$program" 1000
done
if command -v setpriv >/dev/null; then
    works 'without new privileges' setpriv --no-new-privs "$B/corun" "$program" 1000
else
    echo 'skip - without new privileges: no setpriv'
fi
exit $status
