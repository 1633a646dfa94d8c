#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun stack, corun top and corun ps: a process looked at from outside, whatever it is doing.
. "${SRC_DIR:-.}/tests/waist/begin.sh"
waiting=$B/tests/waist/dump_prog prog=$B/tests/waist/looked_at_prog
[ -x "$waiting" ] && [ -x "$prog" ] || { echo "$prog is not built"; exit 1; }
has() { grep -qE -- "$1" listed; }
look() { "$B/corun" "$@" >listed 2>said; }
# frames NAME: the functions of the thread of that name, or that begins so.
frames() { awk -v who="'$1" '/^thread/{on=index($0, who)} on && /^    #/{sub(/\+.*/,"",$3); printf " %s", $3}' listed; }

state() { grep -q "^State:.$1" "/proc/$pid/status"; }
until_state() { for ((i = 0; i < 1000; ++i)); do state "$1" && return; sleep 0.01; done; }
# at_least N M COMMAND: of M times.
at_least() {
    local n=0
    for ((i = 0; i < $2; ++i)); do "$3" && n=$((n + 1)); done
    [ $n -ge "$1" ] || { echo "$n of $2" >out; return 1; }
}

# ---- corun stack

begin "$waiting" 12
verdict 'corun stack: a line for each thread' 'look stack $pid && [ "$(grep -cE "^thread [0-9]+ " listed)" = 13 ] &&
    [ "$(grep -cE "^thread [0-9]+ parked in recv \(fd [0-9]+, 127\.0\.0\.1:[0-9]+\) for [0-9]+ ms; stack 8191K, [0-9]+K of it in memory$" listed)" = 2 ]'
if installed; then
    verdict '... its frames, exactly' 'exactly listed'
    verdict '... those of the first one, too' 'awk "/^thread $pid /{on=1;next} /^thread/{on=0} on" listed | grep -qE " main\+0x[0-9a-f]+ \(.*/dump_prog\+0x[0-9a-f]+\)$"'
    verdict '... and nothing of corun itself' '! has "libcorun_waist"'
else
    echo "skip - $(basename "$0") frames: libunwind8 is not installed"
fi
verdict '... and the process has written nothing' '[ ! -s err ] && [ ! -s said ]'
one=$(sed -n 's/^thread \([0-9]*\) parked in recv.*/\1/p' listed | head -1)
verdict 'corun stack PID ID: that one' 'look stack $pid $one && [ "$(grep -c ^thread listed)" = 1 ] && has "^thread $one parked in recv "'
verdict '... of none' 'refused "^corun: process $pid has no thread 7; corun ps $pid lists them$" stack $pid 7'
verdict '... that is no number' 'refused "^corun: stack: .x7. is no number of a thread" stack $pid x7'
verdict '... and nothing behind it' 'refused "nothing behind it$" stack $pid $one 3'
kill -STOP "$pid"
verdict 'one that is stopped' 'look stack $pid && [ "$(grep -c ^thread listed)" = 13 ] && grep -q "^State:.T" /proc/$pid/status'
kill -CONT "$pid"
mkdir lib
: >lib/libunwind-x86_64.so.8
LD_LIBRARY_PATH=$PWD/lib look stack "$pid"
verdict 'without libunwind: one line, and where each stands' 'grep -qx "corun: frames need libunwind-x86_64.so.8 (Debian: apt install libunwind8); without it they follow frame pointers" said &&
    [ "$(wc -l <said)" = 1 ] && [ "$(grep -c ^thread listed)" = 13 ] && [ "$(grep -c "^    #0 .*libc.so.6" listed)" = 13 ]'
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 "$scratch"
    cp "$B/corun" .
    denied() { setpriv --reuid=65534 --clear-groups ./corun "$@" >said 2>&1; [ $? = 125 ] && [ "$(wc -l <said)" = 1 ] &&
        grep -qE "^corun: process $pid: .*(Permission denied|Operation not permitted): its user and root may" said; }
    verdict "another user's process: an error" 'denied stack $pid && denied ps $pid && denied top -b $pid'
else
    echo 'skip - another user: not root, or no setpriv'
fi
finish
verdict 'it has gone on, and ends' '[ $code = 0 ] && grep -qx "joined 12" out'
verdict 'no such process' 'refused "^corun: process 4194303: there is none$" stack 4194303'
verdict 'no number at all' 'refused "^corun: stack: the number of a process is missing" stack'

begin "$prog" compute
shows_loop() { look stack "$pid" && has "^thread [0-9]+ 'computing' running" && frames computing | grep -qE '^ in_loop computing start_thread'; }
if installed; then
    verdict 'one that computes: where' 'at_least 15 20 shows_loop'
    ignoring() { env --ignore-signal=CHLD "$B/corun" stack "$pid" >listed && frames computing | grep -qE '^ in_loop computing start_thread'; }
    verdict '... also where SIGCHLD is ignored' 'at_least 15 20 ignoring'
    verdict '... beside one that waits' 'frames idle | grep -qE " idle_there idle start_thread"'
fi
verdict '... and it is not traced any more' 'grep -qx "TracerPid:.0" /proc/$pid/status'
steps() { awk '{print $14}' "/proc/$pid/stat"; } # of processor time
kill -STOP "$pid"
until_state T
shows_stopped() { look stack "$pid" && frames computing | grep -qE '^ in_loop computing start_thread' && state T; }
installed && verdict '... stopped while it computes: where' 'at_least 5 5 shows_stopped'
before=$(steps)
verdict '... it stays stopped' 'look stack $pid && sleep 0.1 && state T && grep -qx "TracerPid:.0" /proc/$pid/status && [ "$(steps)" = "$before" ]'
kill -CONT "$pid"
verdict '... and goes on once it is continued' 'for ((i = 0; i < 500; ++i)); do [ "$(steps)" -gt "$before" ] && break; sleep 0.02; done; [ "$(steps)" -gt "$before" ]'
finish
verdict '... and ends' '[ $code = 0 ] && grep -qx "joined 2" out'

# The launcher is held by who reads what it writes. Nothing of it may hold the process.
begin "$prog" vfork
until_state D
mkfifo full
exec 8<>full
dd if=/dev/zero of=full bs=4096 count=16 oflag=nonblock 2>said
"$B/corun" stack "$pid" >full 2>said &
looker=$!
writes() { grep -q '^1 0x1 ' "/proc/$looker/syscall"; }
for ((i = 0; i < 1000; ++i)); do writes && break; sleep 0.01; done
verdict 'one that cannot stop now: it is let go' 'writes && state D && grep -qx "TracerPid:.0" /proc/$pid/status'
echo >&9
verdict '... and goes on while the launcher is held' 'until_text out "^gone on$" && writes'
kill $looker
wait $looker 2>/dev/null
exec 8>&-
finish
verdict '... and ends' '[ $code = 0 ] && grep -qx "joined 1" out'

begin "$prog" deep
verdict 'frames end after 64' 'look stack $pid && [ "$(grep -c " idle_there+" listed)" -ge 60 ] && [ "$(grep -c "^    #63" listed)" = 1 ] && ! has "^    #64"'
verdict '... and more than a MiB of a stack is counted' 'look ps $pid && [ "$(awk "\$2 == \"idle\" {print int(\$(NF - 4))}" listed)" -gt 1024 ] || { cat listed >out; false; }'
finish

begin "$prog" turns
never_astray() {
    local shown=0
    for ((i = 0; i < 30; ++i)); do
        look stack "$pid" || return 1
        for name in ping pong; do
            local found
            found=$(frames $name)
            [ -z "$found" ] && continue
            shown=$((shown + 1))
            grep -qE " $name start_thread( |\$)" <<<"$found" || { cat listed >out; return 1; }
        done
    done
    [ $shown -ge 10 ] || { echo "$shown of 60 with frames" >out; return 1; }
}
installed && verdict 'threads that run all the time: their own frames or none' never_astray

# ---- corun top

verdict 'a name that a terminal would obey is shown, not obeyed' 'look ps $pid && has "pong\?\? 31m" && ! grep -q $'"'\302\233'"' listed'
table() { awk -v n="$1" '/^corun top:/{t++} t==n' listed; }
verdict 'corun top -b: tables' 'look top -b -n 2 -d 0.3 $pid && [ "$(grep -c "^corun top: process $pid (looked_at_prog), 4 threads: " listed)" = 2 ] &&
    [ "$(table 2 | grep -cE "^ *[0-9]+ ")" = 5 ]'
verdict '... the busiest first, with its switches in a second' '[ "$(table 2 | awk "\$2 ~ /^p[io]ng/ {n++} \$2 == \"idle\" {print n}")" = 2 ] &&
    table 2 | grep -qE "^ *[0-9]+ ping .* [1-9][0-9]+ +[1-9][0-9]+  *(fd [0-9]+)?$" && table 2 | grep -qE "^ *[0-9]+ idle .* 0 +[0-9]+  fd"'
niceness() { awk '{print $19}' "/proc/$1/stat"; }
: >listed
"$B/corun" top -b -d 0.1 "$pid" >listed 2>said &
looker=$!
until grep -q '^corun top' listed; do kill -0 $looker || break; sleep 0.01; done
verdict '... which gives way' '[ "$(niceness $looker)" = $(($(niceness $$) + 5)) ]'
kill $looker
wait $looker 2>/dev/null
order() { look top -b -n 1 -d 0.1 "$@" "$pid"; awk '$2 ~ /^(ping|pong|idle|-)/ {printf " %s", substr($2, 1, 4)}' listed; }
verdict '... by name, and reversed' '[ "$(order -s name)" = " - idle ping pong" ] && [ "$(order -r -s name)" = " pong ping idle -" ]'
verdict '... by number' '[ "$(order -s id)" = " - idle ping pong" ]'
for wrong in "-d 0 $pid:-d 0: a number of seconds" "-n 0 $pid:-n 0: a number from 1" "-s x $pid:-s x: it may be" \
    "-z $pid:unknown option .-z." "-d:-d: its value is missing" "$pid 1:one PID" ":the number of a process is missing" "-b:the number of a process is missing"; do
    verdict "top ${wrong%%:*}: an error" 'refused "^corun: top: ${wrong#*:}" top ${wrong%%:*}'
done
verdict 'no terminal: what else there is' 'refused "^corun: top: stdin and stdout must be a terminal; top -b writes to a file, and corun ps $pid lists once$" top $pid'

on_terminal() { /usr/bin/python3 -B "$root/tests/waist/on_terminal.py" "$@" >screen 2>&1; }
shown() { grep -qE -- "$1" screen || { cat screen >out; return 1; }; }
ended() { shown '^fits$' && shown '^restored$' && shown "^status $1\$"; }
on_terminal 12x60 'until=^corun top:' key=q -- "$B/corun" top -d 0.2 "$pid"
verdict 'on a terminal: a screen, and q quits' 'ended 0 && shown "^ *THREAD NAME" && shown "ping "'
on_terminal 5x30 'until=THREAD' key=q -- "$B/corun" top -d 0.2 "$pid"
verdict '... that fits the window' 'ended 0 && [ "$(sed "/^fits/,\$d" screen | wc -l)" = 5 ]'
on_terminal 12x60 'until=sorted by switches' key=n 'until=sorted by name$' key=r 'until=sorted by name, reversed$' key=q -- "$B/corun" top "$pid"
verdict '... keys' 'ended 0'
on_terminal 24x100 'until=THREAD' size=6x40 'until=^(.*\n){5}.*$' key=q -- "$B/corun" top -d 100 "$pid"
verdict '... another size of the window' 'ended 0'
for s in INT TERM HUP QUIT; do
    on_terminal 12x60 'until=THREAD' signal=$s -- "$B/corun" top "$pid"
    verdict "... SIG$s ends it, and the terminal is as before" 'ended -$(kill -l $s)'
done
for s in INT TERM HUP QUIT; do
    on_terminal 12x60 'until=THREAD' key=$'\023' pause=0.5 signal=$s -- "$B/corun" top -d 0.1 "$pid"
    verdict "... SIG$s, too, after ^S, when it takes no output" 'shown "^status -$(kill -l $s)$"'
done
on_terminal 12x60 'until=THREAD' key=$'\023' pause=0.5 key=$'\021' 'until=THREAD' key=n 'until=sorted by name$' key=q -- "$B/corun" top -d 0.1 "$pid"
verdict '... after ^Q it goes on, whole' 'ended 0'
on_terminal 12x60 'until=THREAD' signal=TSTP stopped signal=CONT 'until=THREAD' key=q -- "$B/corun" top -d 0.2 "$pid"
verdict '... it can be stopped, and continued' 'ended 0 && shown "^while stopped: restored$"'
on_terminal 12x60 'until=THREAD' kill="$pid" -- "$B/corun" top -d 0.2 "$pid"
verdict '... the process is gone' 'ended 125 && shown "^words: corun: process $pid"'
finish 2>/dev/null

# ---- What is not to be believed

# Each look ends by itself, well or with an error.
survives() {
    for ((seed = 1; seed <= 12; ++seed)); do
        begin "$waiting" 12
        kill -STOP "$pid"
        for ((i = 0; i < 4; ++i)); do
            /usr/bin/python3 -B "$root/tests/waist/scribble.py" "$pid" $((seed * 10 + i)) $((i * i * 30 + 1))
            for what in ps stack 'top -b -n 1 -d 0.1'; do
                timeout 60 "$B/corun" $what "$pid" >listed 2>said
                code=$?
                [ $code = 0 ] || [ $code = 125 ] || { echo "$what, seed $seed, $i: status $code" >out; return 1; }
                ! grep -q $'\033' listed said || return 1
                [ $code = 125 ] || grep -qE '^(thread)? *[0-9]+ ' listed || { echo "$what, seed $seed, $i: an empty list" >out; return 1; }
            done
        done
        kill -KILL "$pid"
        finish 2>/dev/null
    done
}
verdict 'a process that has written anything over itself' survives

# ---- 10,000 threads

begin --stack=32K "$waiting" 10000
switches() { awk '/ctxt_switches/{n += $2} END{print n}' "/proc/$pid/status"; }
until_asleep() { # those of the runtime that look at idle stacks each second have seen them
    local before=-1
    for ((i = 0; i < 20; ++i)); do
        [ "$(switches)" = "$before" ] && return
        before=$(switches)
        sleep 2.5
    done
    return 1
}
verdict '10,000 threads come to rest' until_asleep
before=$(switches)
verdict 'corun ps: all of them' 'look ps $pid && [ "$(sed 1d listed | sort -un -k1,1 | wc -l)" = 10001 ]'
verdict 'corun stack: all of them' 'look stack $pid && [ "$(grep ^thread listed | sort -u -k2,2 | wc -l)" = 10001 ]'
verdict 'corun top: all of them' 'look top -b -n 2 -d 0.1 $pid && [ "$(table 2 | grep -cE "^ *[0-9]+ .* (parked|ready|running) ")" = 10001 ]'
verdict '... and the process has not run meanwhile' '[ "$(switches)" = $before ]'
kill -KILL "$pid"
finish 2>/dev/null
exit $status
