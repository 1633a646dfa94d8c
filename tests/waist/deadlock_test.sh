#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Threads under corun that wait for each other for ever: the report, once, and the program as it would be natively.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -x "$B/corun" ] && [ -e "$B/libcorun_waist.so" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
prog=$B/tests/waist/deadlock_prog
[ -x "$prog" ] || { echo "$prog is not built"; exit 1; }
cd "$scratch" || exit 1
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT # they wait for ever

# begin NAME WORDS...: the program with these words, in the background; NAME.out, NAME.err, its pid in job_NAME.
begin() {
    local name=$1
    shift
    [ -e "$name.in" ] || mkfifo "$name.in"
    "$B/corun" "$prog" "$@" <>"$name.in" >"$name.out" 2>"$name.err" &
    eval "job_$name=$!"
}
job() { eval "echo \$job_$1"; }
# until_text FILE PATTERN: until the file has such a line; 20 s at most.
until_text() {
    for ((i = 0; i < 2000; ++i)); do
        grep -qE -- "$2" "$1" 2>/dev/null && return
        sleep 0.01
    done
    return 1
}
# Its one kernel thread sleeps: it has looked, and written all that it had to say. 20 s at most.
until_asleep() {
    for ((i = 0; i < 2000; ++i)); do
        [[ "$(cat "/proc/$(job "$1")/stat" 2>/dev/null)" == *') S '* ]] && return
        sleep 0.01
    done
    return 1
}
# The program lives, and SIGTERM ends it; what it said is in out.
ends_by_term() {
    kill -0 "$(job "$1")" && kill -TERM "$(job "$1")"
    wait "$(job "$1")"
    code=$?
    cat "$1.out" "$1.err" >out
    [ $code = 143 ]
}
count() { grep -cE -- "$1" out; }
T='thread [0-9]+'
asleep='^corun: all threads are asleep: '

# All of them at once: a while passes until nothing at all is due.
begin two two
begin three three
begin twice twice
begin join join
begin inherit inherit
begin robust robust
begin cond cond
for w in accept signal awaits pause sleep; do begin "cond_$w" cond $w; done
begin timed timed
begin held held
begin twice_sleep twice sleep
begin two_accept two accept
for j in two three twice join inherit robust cond; do until_text $j.err "$asleep"; done
until_text two_accept.err '^corun: deadlock: '
for j in two three twice join inherit robust cond timed held twice_sleep two_accept cond_{accept,signal,awaits,pause,sleep}; do
    until_text $j.out '^ready' && until_asleep $j || { echo "not ok - $j does not come to rest"; status=1; }
done

verdict 'two: it lives on, and ends by SIGTERM' 'ends_by_term two'
verdict '... the cycle, by name, once' '[ "$(count "^corun: deadlock: $T .worker-a. waits for $T .worker-b., which waits for $T .worker-a.$")/$(count "^corun: deadlock")" = 1/1 ]'
verdict '... what each waits for' '[ "$(count "^$T .worker-[ab]. parked in futex \(0x[0-9a-f]+\) for .*; a mutex that $T holds, it seems$")" = 2 ] && [ "$(count "^$T parked in futex .*; the end of $T$")" = 1 ]'
verdict '... and where' '[ "$(count "^    #[0-9]+ 0x[0-9a-f]+ lock_the_next\+")/$(count "^    #[0-9]+ 0x[0-9a-f]+ main\+")" = 2/1 ] || ! ldconfig -p | grep -q libunwind-x86_64.so.8'
verdict '... all are asleep, once' '[ "$(count "^corun: all threads are asleep: 3 wait, and nothing is left that could wake one$")" = 1 ]'
verdict 'three' 'ends_by_term three && [ "$(count "^corun: deadlock: $T .worker-a. waits for $T .worker-b., which waits for $T .worker-c., which waits for $T .worker-a.$")" = 1 ]'
verdict 'one that locks twice, and nobody else runs' 'ends_by_term twice && grep -qE "^corun: deadlock: ($T) waits for \1$" out'
verdict 'a join is in the cycle' 'ends_by_term join && grep -qE "^corun: deadlock: (thread $(job join)) waits for $T, which waits for \1$" out'
verdict 'priority inheritance' 'ends_by_term inherit && [ "$(count "^corun: deadlock: $T .worker-a. waits for $T .worker-b., which waits")" = 1 ]'
verdict 'robust mutexes' 'ends_by_term robust && [ "$(count "^corun: deadlock: $T .worker-a. waits for $T .worker-b., which waits")" = 1 ]'
verdict 'no cycle, but all are asleep' 'ends_by_term cond && [ "$(count "$asleep")/$(count "^corun: deadlock")/$(count "^$T parked in futex")" = 1/0/2 ]'
verdict 'a cycle, while another one waits for a connection' 'ends_by_term two_accept && [ "$(count "^corun: deadlock: $T .worker-a. waits")/$(count "$asleep")" = 1/0 ]'
for w in accept signal awaits pause sleep; do
    verdict "nothing is said: all wait, but there is: $w" "ends_by_term cond_$w && [ \"\$(count corun)\" = 0 ]"
done
verdict 'nothing is said: a time limit' 'ends_by_term timed && [ "$(count corun)" = 0 ]'
verdict 'nothing is said: the holder reads' 'ends_by_term held && [ "$(count corun)" = 0 ]'
verdict 'nothing is said: one locks twice while others run' 'ends_by_term twice_sleep && [ "$(count corun)" = 0 ]'

# A server of which two threads are stuck.
begin served two serve
until_text served.err '^corun: deadlock: '
for n in 1 2 3; do
    echo "$n" >served.in
    until_text served.out "^$n$" || break
    sleep 1.1 # a look each second
done
"$B/corun" dump "$(job served)" >said 2>&1
until_text served.err '^corun: end of the dump'
"$B/corun" ps "$(job served)" >listed 2>&1
verdict 'a server of which two threads are stuck goes on' 'grep -qx 3 served.out'
verdict '... and it is said once' 'ends_by_term served && [ "$(count "^corun: deadlock")" = 1 ]'
verdict '... and in each dump' '[ "$(count "^deadlock: $T .worker-a. waits for $T .worker-b., which waits for $T .worker-a.$")" = 1 ]'
verdict '... and corun ps marks them, and nobody else' '[ "$(grep -cE "^ *[0-9]+ worker-[ab] +parked +futex .* 0x[0-9a-f]+, held by [0-9]+, deadlock$" listed)/$(grep -c deadlock listed)" = 2/2 ] && grep -qE "parked +futex .* 0x[0-9a-f]+, the end of [0-9]+$" listed'

# stderr that takes nothing.
mkfifo full
exec 8<>full
yes '' | dd of=full bs=4096 count=16 iflag=fullblock oflag=nonblock 2>said
: >served.out
"$B/corun" "$prog" two serve <>served.in >served.out 2>&8 &
job_served=$!
until_text served.out '^ready'
echo 4 >served.in
verdict 'stderr takes nothing: the others go on' 'until_text served.out "^4$"'
cat <&8 >full.err &
verdict '... and it comes as soon as there is room' 'until_text full.err "^corun: deadlock: "'
kill -TERM "$job_served"
exec 8>&-
wait "$job_served"
"$prog" two >native.out 2>native.err &
job_native=$!
until_text native.out '^ready'
verdict 'natively it is the same, without a word' 'ends_by_term native && [ "$(count corun)" = 0 ]'
exit $status
