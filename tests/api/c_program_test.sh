#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A C program, compiled strictly as each C there is and linked by the plain C compiler with
# libcorun.a, runs and needs neither libstdc++ nor libgcc_s to start.
set -u
cc=${CC:-cc}
build=${BUILD_DIR:-build/x86_64}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
verdict() { # what, findings
    [ -z "$2" ] && echo "ok - $1" && return
    printf '%s\nnot ok - %s\n' "$2" "$1"
    status=1
}
for std in c99 gnu99 c11 c17 c2x; do
    program=$scratch/$std
    findings=$(
        # shellcheck disable=SC2086  # ARCHFLAGS is a list
        $cc ${ARCHFLAGS:-} -std=$std -O2 -Wall -Wextra -Wpedantic -Werror -Ico_routine -Ico_hook -Ico_ctx \
            tests/api/c_program.c "$build/libcorun.a" -pthread -ldl -o "$program" 2>&1 &&
            timeout 30 "$program" 2>&1
        code=$?
        [ $code = 0 ] || echo "exit status $code"
        readelf -d "$program" | grep NEEDED | grep -E 'stdc\+\+|gcc_s'
    )
    verdict "a C program as $std with libcorun.a" "$findings"
done
exit $status
