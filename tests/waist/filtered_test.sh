#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In a process with a seccomp filter: a program runs as it does natively, or corun says at the start what
# is forbidden. Never half.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -x "$B/corun" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
program=$B/tests/waist/filtered_prog
number_of() { sed -n "s/^#define __NR_$1 //p" /usr/include/x86_64-linux-gnu/asm/unistd_64.h; }

# under CALL ANSWER COMMAND...: what it says is in said, what corun says of it in out.
under() {
    (timeout 20 "$program" "$(number_of "$1")" "$2" "${@:3}" >"$scratch/said" 2>"$scratch/out"
     exit $?) 2>/dev/null # where the shell would say how it ended
}
works() { under "$1" "$2" "$B/corun" "$program" && grep -qx 'all is well' "$scratch/said" && [ ! -s "$scratch/out" ]; }
refused() {
    under "$1" "$2" "$B/corun" "$program"
    [ $? = 125 ] && [ ! -s "$scratch/said" ] && grep -q "^corun: .*forbidden here ($1[(:].*); allow it in the seccomp filter" "$scratch/out"
}
under getppid 1 true || { echo 'seccomp filters are not allowed here'; exit 77; }

for call in io_uring_setup io_uring_enter io_uring_register epoll_create; do
    verdict "$call denied" "works $call 1"
    verdict "$call is death" "works $call kill"
done
for call in openat2 pidfd_open statx fstatfs process_vm_readv; do
    verdict "$call denied" "works $call 1"
    verdict "$call is death" "refused $call kill"
done
for call in epoll_create1 epoll_pwait2 accept4 timer_create sigaltstack; do
    verdict "$call denied" "refused $call 1"
    verdict "$call is death" "refused $call kill"
done
# The rest of what corun calls, and of what it may call: whatever works natively.
either=$(sed -n 's/.* TRIED\(_BUT\)\?(\([a-z0-9_]*\).*/\2/p' co_hook/launcher/machine.cpp)
wrong=0 count=0
for call in $either clone3 mremap eventfd2 futex poll select nanosleep accept connect fsync rt_sigreturn; do
    for answer in 1 kill; do
        under "$call" $answer "$program" || continue
        count=$((count + 1))
        works "$call" $answer || refused "$call" $answer || { echo "$call $answer"; wrong=$((wrong + 1)); }
    done
done
verdict "what corun calls, denied or death, in $count ways" '[ $wrong = 0 ] && [ $count -gt 40 ]'
exit $status
