#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stacks of threads: as libc tells them, with their guards, and dense.
. "${SRC_DIR:-.}/tests/waist/same.sh"
prog=$B/tests/waist/stacks_prog
verdict 'bounds, guards, contents, odd calls' 'same "$prog"'

says() { # OPTIONS, lines
    CORUN_OPTIONS=$1 under_corun "$prog" tell >"$scratch/out" 2>&1 && diff "$scratch/out" - >/dev/null
}
verdict '--stack is what threads get that ask for none, and libc tells it' 'says stack=131072 <<X
stack of 128 KiB, guard of 4, we stand in it: 1
stack of 200 KiB, guard of 4, we stand in it: 1
X'
verdict '... but not less than the runtime needs' 'says stack=16384 <<X
stack of 32 KiB, guard of 4, we stand in it: 1
stack of 200 KiB, guard of 4, we stand in it: 1
X'
verdict 'a thousand threads are a few mappings' \
    'under_corun "$prog" many >"$scratch/out" && [ "$(cat "$scratch/out")" -lt 150 ]'
exit $status
