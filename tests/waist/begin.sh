# SPDX-License-Identifier: Apache-2.0
# A program under corun that lives until its stdin ends, and says "ready PID" when its threads are there.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -x "$B/corun" ] && [ -e "$B/libcorun_waist.so" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
root=$PWD
cd "$scratch" || exit 1
mkfifo input

# What a shell starts in the background ignores SIGQUIT.
corun() { exec env --default-signal=QUIT "$B/corun" "$@"; }
# begin WORDS...: corun WORDS... in the background until finish; its pid in $pid.
begin() {
    : >out
    : >err
    corun "$@" <input >out 2>err &
    job=$!
    exec 9>input
    until_text out '^ready ' && pid=$(sed -n 's/^ready //p' out | head -1)
}
finish() { exec 9>&-; wait $job; code=$?; }
# Until the file has a line like this; 20 s at most.
until_text() {
    for ((i = 0; i < 2000; ++i)); do
        grep -qE -- "$2" "$1" 2>/dev/null && return
        kill -0 $job 2>/dev/null || return 1
        sleep 0.01
    done
    return 1
}
refused() { "$B/corun" "${@:2}" >said 2>&1; [ $? = 125 ] && grep -qE -- "$1" said; }
installed() { ldconfig -p | grep -q 'libunwind-x86_64.so.8'; }
# chains FILE: the functions of each thread, innermost first; those of libc are left out.
chains() { awk '/^thread/{if(c)print c; c=""} /^    #/{if($3 ~ /^(in_|nested|thread_main|start_thread)/){sub(/\+.*/,"",$3); c=c" "$3}} END{print c}' "$1" | sort | uniq -c; }
# As dump_prog N makes them: each way of waiting, in the N / 6 depths.
want='in_cond in_mutex in_read in_recv in_semaphore in_sleep'
exactly() {
    for way in $want; do
        for deep in 1 2; do
            nest=$(printf ' nested%.0s' $(seq $deep))
            chains "$1" | grep -qE "^ +1 +$way$nest thread_main start_thread\$" || { chains "$1"; return 1; }
        done
    done
}
