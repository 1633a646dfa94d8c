#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun --stats, --stats-signal and CORUN_DEBUG=blocked: the numbers of a program whose calls are known.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -x "$B/corun" ] && [ -e "$B/libcorun_waist.so" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
prog=$B/tests/waist/stats_prog
[ -x "$prog" ] || { echo "$prog is not built"; exit 1; }
cd "$scratch" || exit 1

corun() { timeout -k 5 20 "$B/corun" "$@" >out 2>&1 </dev/null; code=$?; }
# The number behind a label; a call's made, waited, helped, passed.
value() { sed -n "s/^  $1  *\([0-9][0-9.]*\).*/\1/p" out | head -1; }
column() { awk -v c="$1" -v n="$2" '$1 == c && NF == 7 {print $n; exit}' out; }
tables() { grep -c '^corun: process ' out; }
has() { grep -qE -- "$1" out; }

corun --stats "$prog" 20 10
verdict 'a table at the end, on stderr' '[ $code = 0 ] && [ "$(tables)" = 1 ] && has "^corun: process [0-9]+ \(stats_prog\), the end$"'
verdict 'threads: created, ended, at most, now' '[ "$(value "threads created")/$(value "threads ended")/$(value "threads at most")/$(value "threads now")" = 20/20/21/1 ]'
verdict 'calls made' '[ "$(column read 2)/$(column write 2)/$(column exit 2)/$(column clone3 2)" = 200/200/20/20 ]'
verdict 'each reader has waited once at least, and made = waited + passed' '[ "$(column read 3)" -ge 20 ] && [ $(($(column read 3) + $(column read 5))) = 200 ]'
verdict 'sleeps park, each of them' '[ "$(column clock_nanosleep 2)/$(column clock_nanosleep 3)" = 3/3 ]'
verdict 'the sums are those of the lines' '[ "$(awk "/^  call  /{on=1;next} on && \$1!=\"all\" && NF==7{s+=\$2} END{print s}" out)" = "$(column all 2)" ]'
verdict 'switches: two for a wait' '[ "$(value switches)" -ge 46 ]'
verdict 'stacks of threads that ended' '[ "$(value "stack used at most, ended")" -ge 3000 ] && has " of 20 that were looked at"'
verdict 'memory, and sites' '[ "$(value "system call sites covered")" -gt 400 ] && [ "$(value "memory resident")" -gt 1000 ] && [ "$(value "page tables")" -gt 10 ] && [ "$(value "system call sites")" -gt 400 ]'
corun --stats "$prog" 1 10 handlers
verdict 'a wait that a handler interrupts has waited; a read that goes on after it is made twice' \
    '[ "$(column rt_sigsuspend 2)/$(column rt_sigsuspend 3)/$(column read 2)" = 5/5/12 ]'
corun --stats "$prog" 20 10 sync
verdict 'fsync goes to a helper' '[ "$(column fsync 2)/$(column fsync 4)" = 1/1 ] && [ "$(value "calls given to helpers")" -ge 1 ]'
corun --stats "$prog" 2 1 compute sync
verdict 'the longest turn, and what came behind it' '[ "$(value "longest turn" | cut -d. -f1)" -ge 50 ] && has "^  longest turn .* ms  thread [0-9]+, before openat"'
verdict 'the longest turns, with frames' 'has "^  longest turns$" && [ "$(grep -cE "^    [0-9]+ m?s, [0-9]+ m?s ago: thread [0-9]+, (in|before|until it was) [a-z]" out)" -ge 1 ]'
verdict '... each once: one that goes on grows' '[ "$(grep -cE "^    ([5-9][0-9]|[1-9][0-9][0-9]) ms, .* before openat" out)" = 1 ]'
corun --stats "$prog" 2 1 spin
verdict 'one that was preempted, where it was then' 'has "^    [0-9]+ ms, [0-9]+ ms ago: thread [0-9]+, until it was preempted$" && { has "^        #0 0x[0-9a-f]+ spin_without_a_call\+" && has "^        #1 0x[0-9a-f]+ spinner\+" || ! ldconfig -p | grep -q libunwind-x86_64.so.8; }'
verdict '... eight at most' '[ "$(grep -c " ago: thread " out)" -le 8 ]'
corun --stats "$prog" 2 1 last
verdict 'the last thread ends' '[ $code = 0 ] && [ "$(tables)" = 1 ]'
verdict 'few threads: no memory for each, which would be the program'"'"'s' '! has "memory for each thread"'
corun --stats "$prog" 120 1
verdict '... and many' '[ "$(value "memory for each thread")" -gt 1000 ] && has "grew by at most, over 120 threads$"'
corun --stats true
verdict 'a program of one thread' '[ $code = 0 ] && [ "$(wc -l <out)" = 1 ] && has "^corun: process [0-9]+ \(true\), the end: it never had a second thread; [0-9.]+ ms, [0-9.]+ ms of processor time$"'
corun --stats cat /dev/null
verdict 'a program that closes stderr at its end' '[ $code = 0 ] && [ "$(tables)" = 1 ]'
corun --stats bash -c 'exec 2>"$1"' - other
verdict 'a program that leads stderr elsewhere: there' '[ $code = 0 ] && [ "$(tables)" = 0 ] && grep -q "^corun: process" other'
echo data >database
corun --stats bash -c 'exec 2<>"$1"' - database
verdict 'number 2 is a file that is read, too: to what it was' '[ $code = 0 ] && [ "$(tables)" = 1 ] && [ "$(cat database)" = data ]'
(ulimit -n 50; corun --stats "$prog" 5 2; exit $code)
code=$?
verdict '... and no number is high enough for a second one' '[ $code = 0 ] && [ "$(tables)" = 1 ]'
corun --stats "$prog" 5 2 fork
verdict 'a child of fork has counts of its own' '[ $code = 0 ] && [ "$(tables)" = 2 ] && [ "$(value "threads created")/$(column read 2)" = 5/10 ]'
corun --stats sh -c 'true & wait; exit 3'
verdict 'a child without threads leaves no table' '[ $code = 3 ] && [ "$(tables)" = 1 ]'
corun "$prog" 5 2
verdict 'without --stats: nothing' '[ $code = 0 ] && [ ! -s out ]'

# ---- The file
corun --stats=table "$prog" 5 2
verdict 'to a file' '[ $code = 0 ] && [ ! -s out ] && grep -q "^corun: process" table'
corun --stats=table "$prog" 5 2
verdict '... behind what is there' '[ "$(grep -c "^corun: process" table)" = 2 ]'
corun --stats=/no/such/table "$prog" 5 2
verdict 'a file that cannot be opened' '[ $code = 125 ] && has "^corun: --stats=/no/such/table: No such file"'
corun --stats=closed bash -c 'for fd in /proc/self/fd/*; do n=${fd##*/}; [ "$n" -gt 2 ] && eval "exec $n>&-"; done; exit 0'
verdict 'a daemon that closes all: opened anew' 'grep -q "^corun: process" closed'

# ---- Signals
corun --stats-signal=USR1 "$prog" 20 10 signal
verdict 'a table by signal, and the program goes on' '[ $code = 0 ] && [ "$(tables)" = 1 ] && has ", signal 10$" && ! has "not at its default"'
verdict 'what they wait in' '[ "$(value "threads waiting")/$(value "  in read")/$(column read 3)" = 20/20/20 ]'
verdict 'stacks that are in use' '[ "$(value "stack used at most, now")" -ge 20000 ] && has " of 20 threads$"'
verdict 'the list' '[ "$(grep -cE "^  [0-9]{7,9} +- +waiting +read fd [0-9]+ +[0-9]{5} +[0-9]+$" out)" = 20 ]'
corun --stats-signal=USR1 "$prog" 60 1 signal
verdict '... of 50' '[ "$(grep -cE "^  [0-9]{7,9} .* waiting " out)" = 49 ] && has "^  ... and 11 more$"'
corun --stats-signal=USR1 "$prog" 5 2 signal own
verdict 'a handler of the program comes first' '[ $code = 0 ] && [ "$(tables)" = 0 ] && has "^own handler$"'
hold() { # what the signal is, the options: the state that it leaves
    : >out # or the one before says "holding"
    "$B/corun" "${@:2}" "$prog" 5 2 hold >out 2>&1 &
    local pid=$!
    for _ in $(seq 500); do grep -q holding out && break; sleep 0.01; done
    kill -"$1" $pid
    for _ in $(seq 500); do [ "$(tables)" = 1 ] && break; sleep 0.01; done
    [ "$1" != TERM ] && kill -9 $pid
    wait $pid 2>/dev/null
    code=$?
}
hold USR1 --stats-signal=USR1
verdict 'while everybody waits' '[ "$(tables)" = 1 ] && [ "$(value "threads waiting")" = 6 ] && [ "$(value "threads running")" = 0 ]'
hold RTMIN+1 --stats-signal=RTMIN+1
verdict '... by a signal without a name' '[ "$(tables)" = 1 ] && has ", signal 35$"'
hold TERM --stats
verdict 'SIGTERM at its default: a table, and the end that it means' '[ $code = 143 ] && [ "$(tables)" = 1 ] && has ", signal 15$"'

# ---- CORUN_DEBUG=blocked
corun --debug=blocked:20,overflow "$prog" 2 1 compute sync
verdict 'blocked: who, how long and where' '[ $code = 0 ] && has "^corun: thread #[0-9]+ keeps the loop of thread [0-9]+ from turning, for [0-9]+ ms so far: computing$" && has "^corun: +#[0-9]+ .*stats_prog|the program"'
verdict '... and its end' 'has "^corun: thread #[0-9]+ kept the loop of thread [0-9]+ from turning for [0-9]+ ms$"'
verdict 'words that do not apply' 'has "CORUN_DEBUG: stacks, private, overflow and hooks say nothing here"'
exit $status
