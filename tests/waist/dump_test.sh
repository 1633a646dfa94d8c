#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The dump of all threads, by SIGQUIT, by --dump-signal, by corun dump PID; and the list of corun ps PID.
. "${SRC_DIR:-.}/tests/waist/begin.sh"
prog=$B/tests/waist/dump_prog
[ -x "$prog" ] || { echo "$prog is not built"; exit 1; }
dumps() { grep -c '^corun: end of the dump$' err; }
# Until there are so many.
until_dumps() { for ((i = 0; i < 2000 && $(dumps) < $1; ++i)); do sleep 0.01; done; [ "$(dumps)" = "$1" ]; }
has() { grep -qE -- "$1" err; }

begin "$prog" 12
kill -QUIT "$pid"
verdict 'a dump at SIGQUIT, whole' 'until_dumps 1 && has "^corun: process $pid \(dump_prog\), dump of 13 threads: [0-9]+ ready, [0-9]+ parked$" && [ "$(grep -c ^thread err)" = 13 ]'
verdict 'what each waits in, and on' '[ "$(grep -cE "^thread [0-9]+ parked in read \(fd [0-9]+\) for [0-9]+ ms; stack [1-9][0-9]{5,} bytes, [1-9][0-9]* used$" err)" = 2 ] &&
    [ "$(grep -cE "^thread [0-9]+ parked in recv \(fd [0-9]+, 127.0.0.1:[0-9]+\) for [0-9]+ ms; stack" err)" = 2 ] &&
    [ "$(grep -cE "^thread [0-9]+ parked in sleep for [0-9]+ ms, 99[0-9] s left; stack" err)" = 2 ]'
verdict 'the owner of the mutex' '[ "$(grep -cE "^thread [0-9]+ parked in futex \(0x[0-9a-f]+\) for [0-9]+ ms; stack .*; a mutex that thread $pid holds, it seems$" err)" = 2 ]'
if installed; then
    verdict 'the frames of each, exactly' 'exactly err'
    verdict 'each ends where it began' '[ "$(grep -cE "^    #[0-9]+ .* (__)?clone3?\+" err)" -ge 12 ] || [ "$(grep -B1 -E "^thread|^corun: end" err | grep -cE "clone|start_thread")" = 12 ]'
else
    echo "skip - $(basename "$0") frames: libunwind8 is not installed"
fi
"$B/corun" ps "$pid" >listed 2>&1
verdict 'corun ps: a line for each' '[ "$(grep -cE "^ *[0-9]+ " listed)" = 13 ] && [ "$(sed 1d listed | sort -un -k1,1 | wc -l)" = 13 ]'
verdict '... with what it waits in, and on' '[ "$(grep -cE "parked +read +[0-9]+ ms +[0-9]+K +8191K +[0-9]+  fd [0-9]+$" listed)" = 2 ] &&
    [ "$(grep -cE "parked +recv +[0-9]+ ms .* fd [0-9]+, 127\.0\.0\.1:[0-9]+$" listed)" = 2 ] &&
    [ "$(grep -cE "parked +futex +[0-9]+ ms .* 0x[0-9a-f]+$" listed)" = 4 ] &&
    [ "$(grep -cE "parked +futex +[0-9]+ ms .* 0x[0-9a-f]+, held by $pid$" listed)" = 2 ] && [ "$(grep -cE "parked +sleep +[0-9]+ ms " listed)" = 2 ]'
"$B/corun" dump "$pid" >said 2>&1
verdict 'corun dump: another one' 'until_dumps 2 && grep -qx "process $pid writes the dump to its stderr ($scratch/err)" said'
for ((n = 0; n < 20; ++n)); do kill -QUIT "$pid"; done
until_dumps 3 >/dev/null
finish
verdict 'the program has gone on, and ends' '[ $code = 0 ] && grep -qx "joined 12" out'

begin "$prog" 6 handler
kill -QUIT "$pid"
verdict 'a handler of the program comes first' 'until_text out "^own handler" && [ "$(dumps)" = 0 ]'
"$B/corun" dump "$pid" >said 2>&1
verdict '... and corun dump works all the same' 'until_dumps 1'
finish

begin --dump-signal=USR2 "$prog" 6
kill -USR2 "$pid"
verdict '--dump-signal' 'until_dumps 1'
kill -QUIT "$pid"
finish
verdict '... SIGQUIT is as ever' '[ $code = 131 ]'
begin --dump-signal=none "$prog" 6
"$B/corun" dump "$pid" >said 2>&1
verdict '--dump-signal=none: corun dump alone' 'until_dumps 1'
kill -QUIT "$pid"
finish
verdict '... SIGQUIT is as ever' '[ $code = 131 ]'

begin "$prog" 0
"$B/corun" dump "$pid" >said 2>&1
code=$?
verdict 'no second thread: an error' '[ $code = 125 ] && grep -qx "corun: process $pid has never had a second thread: there is nothing to show" said'
kill -QUIT "$pid"
finish
verdict '... and SIGQUIT is as ever' '[ $code = 131 ]'

begin "$prog" 2000
kill -QUIT "$pid"
verdict '2,000 threads: all of them' 'until_dumps 1 && [ "$(grep -c ^thread err)" = 2001 ] && [ "$(grep ^thread err | sort -u -k2,2 | wc -l)" = 2001 ]'
"$B/corun" ps "$pid" >listed 2>&1
verdict '... corun ps, too' '[ "$(sed 1d listed | sort -un -k1,1 | wc -l)" = 2001 ]'
finish
verdict '... and they end' '[ $code = 0 ] && grep -qx "joined 2000" out'

# Nobody reads its stderr: the others go on.
mkfifo full
corun "$prog" 300 <input >out 2>full &
job=$!
exec 9>input 8<full
until_text out '^ready ' && pid=$(sed -n 's/^ready //p' out | head -1)
kill -QUIT "$pid"
finish
verdict 'a stderr that takes nothing holds nobody up' '[ $code = 0 ] && grep -qx "joined 300" out'
exec 8<&-

# Nobody can read it any more.
corun "$prog" 6 <input >out 2>full &
job=$!
exec 9>input 8<full
until_text out '^ready ' && pid=$(sed -n 's/^ready //p' out | head -1)
exec 8<&-
"$B/corun" dump "$pid" >said 2>&1
finish
verdict 'a stderr whose reader is gone ends nobody' '[ $code = 0 ] && grep -qx "joined 6" out'

begin "$B/tests/waist/looked_at_prog" compute
for n in 1 2 3 4 5; do "$B/corun" dump "$pid" >said 2>&1; until_dumps $n; done
verdict 'one that computes: where it was preempted' '[ "$(dumps)" = 5 ] && { ! installed || [ "$(grep -cE "^    #0 0x[0-9a-f]+ in_loop\+" err)/$(grep -cE "^    #1 0x[0-9a-f]+ computing\+" err)" = 5/5 ]; }'
finish

begin "$prog" 6 fork
verdict 'a child that has made no thread is ended by SIGQUIT' 'grep -qx "a child ends by signal 3" out && [ "$(dumps)" = 0 ]'
finish

begin "$prog" 6 small
kill -QUIT "$pid"
verdict 'the first thread, made on a small stack' 'until_dumps 1 && [ "$(grep -c ^thread err)" = 8 ]'
"$B/corun" ps "$pid" >listed 2>&1
verdict 'a name that a terminal would obey is shown, not obeyed' \
    '! grep -q $'"'\\033'"' err listed && ! grep -q "^thread 7[^0-9]" err && grep -qF "?[31m?thread 7" err && grep -qF "?[31m?thread 7" listed'
finish

sleep 60 &
other=$!
verdict 'no process of that number' 'refused "^corun: process 4194303: there is none$" dump 4194303'
verdict 'one that is not under corun' 'refused "^corun: process $other does not run under corun$" dump $other'
verdict '... ps, too' 'refused "^corun: process $other does not run under corun$" ps $other'
verdict 'no number at all' 'refused "^corun: dump: the number of a process is missing" dump'
verdict 'a word behind it' 'refused "one PID, and nothing behind it" dump $other x'
kill $other
verdict 'one signal for two things is refused' 'refused "one signal is not for both" --stats-signal=USR1 --dump-signal=USR1 true &&
    refused "with --stats that signal ends" --stats --dump-signal=HUP true'
verdict '--dump-signal=SEGV is refused' 'refused "^corun: --dump-signal=SEGV: it may be" --dump-signal=SEGV true'
exit $status
