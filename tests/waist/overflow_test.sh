#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A thread that runs off its stack is reported once, and then it is as ever: the end, or the program's handler.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -x "$B/corun" ] && [ -e "$B/libcorun_waist.so" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
cd "$scratch" || exit 1
ulimit -c 0 -s 8192
run() { timeout 60 "$B/corun" "$B/tests/waist/overflow_prog" "$@" >out 2>err; code=$?; }
has() { grep -qE -- "$1" err; }
reports() { grep -c "stack overflow" err; }

run recursion
verdict 'recursion: the thread, its stack, what to raise' '[ $code = 139 ] && [ "$(reports)" = 1 ] &&
    has "^corun: thread [0-9]+.*: stack overflow: its stack has 3[0-9]{4} bytes, [1-9][0-9]+ of them used; 0x[0-9a-f]+ was touched; raise --stack, or what"'
if ldconfig -p | grep -q 'libunwind-x86_64.so.8'; then
    verdict 'the innermost frames, and the outermost' '[ "$(grep -cE "^    #[0-9]+ 0x[0-9a-f]+ recurse\+" err)" -ge 16 ] &&
        has "^    \.\.\. [0-9]+ frames \.\.\.$" && has "^    #[0-9]+ 0x[0-9a-f]+ overflow\+" && has "^    #[0-9]+ 0x[0-9a-f]+ start_thread\+"'
else
    echo "skip - $(basename "$0") frames: libunwind8 is not installed"
fi
run large
verdict 'one large frame, far into the guard' '[ $code = 139 ] && [ "$(reports)" = 1 ] && has "stack overflow: its stack has"'
run wide
if [ $code = 77 ]; then
    echo "skip - $(basename "$0") one frame of 64 KiB: no MADV_GUARD_INSTALL here"
else
    verdict 'one frame of 64 KiB, past a guard of a page, beside another thread' '[ $code = 139 ] && [ "$(reports)" = 1 ] &&
        has "stack overflow: its stack has 4[0-9]{4} bytes"'
fi
run main
verdict 'the first thread' '[ $code = 139 ] && [ "$(reports)" = 1 ] && has "raise its limit \(ulimit -s\)$"'
run null
verdict 'another fault is none' '[ $code = 139 ] && [ "$(reports)" = 0 ]'
run jump
verdict 'a jump into its own stack is none' '[ $code = 139 ] && [ "$(reports)" = 0 ]'
run shut
verdict 'a page of its own stack that it has shut is none' '[ $code = 139 ] && [ "$(reports)" = 0 ]'
"$B/tests/waist/overflow_prog" main handler >out 2>err
native=$?
run main handler
verdict 'a handler of the program comes after the report' '[ $code = $native ] && [ $code = 3 ] && [ "$(reports)" = 1 ] && grep -qx "own handler" out'
timeout 60 "$B/corun" --debug=no-overflow "$B/tests/waist/overflow_prog" recursion >out 2>err
code=$?
verdict '--debug=no-overflow: the end alone' '[ $code = 139 ] && [ "$(reports)" = 0 ]'
CORUN_DEBUG=no-overflow run recursion
verdict '... and by the environment' '[ $code = 139 ] && [ "$(reports)" = 0 ]'
exit $status
