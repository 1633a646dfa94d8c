#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a system call costs that passes through: into the slot, a look at its number, and back. The
# instructions are counted, so nothing here depends on the machine or on what else it does.
. "${SRC_DIR:-.}/tests/waist/same.sh"
prog=$B/tests/waist/steps_prog most=10
bare=$(timeout 20 "$prog" -)
code=$?
[ $code != 77 ] || { echo 'skip - counting instructions: no ptrace here'; exit 0; }
echo "bare: status $code, $bare" >"$scratch/out"
verdict 'instructions can be counted' '[ $code = 0 ] && [ "$bare" -gt 1 ]'
costs() { # what a call takes more with these arguments
    local taken
    taken=$(timeout 20 "$prog" "$B/libcorun_waist.so" "$@") && echo "bare $bare, under corun $taken" >"$scratch/out" &&
        [ "$taken" -gt "$bare" ] && [ $((taken - bare)) -le $most ]
}
verdict "at most $most instructions more, with one thread" costs
verdict '... and with several' 'costs threads'
exit $status
