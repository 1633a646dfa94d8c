#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# CORUN_DEBUG=blocked: who keeps the loop from turning is named while it lasts and when it ended.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
has() { grep -qE "$1" "$scratch/out"; }

# Native calls (raw system calls: nothing will ever hook those here) that last a known time.
cat >"$scratch/prog.c" <<'END'
#define _GNU_SOURCE
#include <co_routine.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
#include <stdlib.h>
static long ms_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
__attribute__((noinline)) void compute_for(long ms) {
    long end = ms_now() + ms;
    while (ms_now() < end)
        ;
}
__attribute__((noinline)) long wait_in_kernel(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) + 1; /* hooks are off: libc's own */
}
static void *run(void *what) {
    switch (*(char *)what) {
    case 'k': return wait_in_kernel(400) == 1 ? NULL : what;
    case 'c': compute_for(300); break;
    case 's': compute_for(30); break;
    case 'p': co_sleep_ms(300); break;
    case 'h': wait_in_kernel(600000); break;
    }
    return NULL;
}
static void on_urg(int s) { (void)s; }
int main(int count, char **what) {
    stCoRoutine_t *co;
    if (count > 2 && what[2][0] == 'u')
        signal(SIGURG, on_urg);
    for (char *w = what[1]; *w; w++) {
        char name[] = "worker-?";
        name[7] = *w;
        co_go(&co, NULL, run, w);
        co_set_name(co, name);
    }
    if (count > 2 && what[2][0] == 'f') {
        co_run(); /* the parent has a watcher */
        pid_t pid = fork();
        if (pid > 0)
            return waitpid(pid, NULL, 0) != pid;
        co_go(&co, NULL, run, "k");
        co_set_name(co, "in-child");
    }
    co_run();
    return 0;
}
END
$CC $flags -O1 -rdynamic -Ico_routine "$scratch/prog.c" "$B/libcorun.a" -pthread -ldl -o "$scratch/prog" || exit 1
run() { # debug words, arguments...
    CORUN_DEBUG=$1 timeout 10 "$scratch/prog" "${@:2}" >"$scratch/out" 2>&1
    code=$?
} 2>/dev/null # the shell's own word on the death of a child

run blocked pk
verdict 'a call of the kernel: who, which call, where' \
    "[ \$code = 0 ] && has \"^corun: coroutine 'worker-k' \\(#2\\) keeps the loop of thread [0-9]+ from turning, for [0-9]+ ms so far: in system call [0-9]+ clock_nanosleep(_time64)? \\(\" && has '#[0-9] .*clock_nanosleep' && has '#[1-9] .*wait_in_kernel'"
verdict 'and for how long, when it ended' \
    "has \"^corun: coroutine 'worker-k' \\(#2\\) kept the loop of thread [0-9]+ from turning for (4[0-9][0-9]|[5-9][0-9][0-9]) ms\""
verdict 'who only waits is not named' '! has worker-p'
run blocked kk
verdict 'callers that were shown are not shown again' \
    "[ \$code = 0 ] && [ \$(grep -c ' so far: ' \"\$scratch/out\") = 2 ] && has ' so far: .* \(2 times here\)$' && [ \$(grep -c '#[1-9] .*wait_in_kernel' \"\$scratch/out\") = 1 ]"

run blocked:100 c
if has 'backtraces need libunwind'; then # by frame pointers alone no way leads out of the vDSO
    echo 'skip - one that computes answers with a backtrace: no libunwind of this architecture'
else
    verdict 'one that computes answers with a backtrace' \
        "has \"'worker-c' .* so far: computing\" && has '#[0-9] .*compute_for' && has \"'worker-c' .* kept the loop\""
fi
run blocked:100 c u
verdict 'SIGURG of a program that handles it is left alone' \
    "[ \$code = 0 ] && has \"'worker-c' .* so far: computing .*SIGURG\" && has \"'worker-c' .* kept the loop\""
run blocked:2000 kc
verdict 'what is shorter than the limit is not named' '! grep -v "backtraces need libunwind" "$scratch/out"'
run '' kc
verdict 'without the word nothing is said' '[ ! -s "$scratch/out" ]'
run blocked:100 ssssss
verdict 'many short ones in one turn are told as that' \
    "has \"^corun: the loop of thread [0-9]+ did not turn for [0-9]+ ms: 6 coroutines ran, the longest was coroutine 'worker-s' \""
run blocked:100 s f
verdict 'the child of a fork has a watcher of its own' "has \"'in-child' .* so far: in system call\""

CORUN_DEBUG=blocked timeout 1 "$scratch/prog" h >"$scratch/out" 2>&1
verdict 'a hang is reported while it lasts' "has \"'worker-h' .* so far: in system call\""

for bad in blocked: blocked:0 blocked:x blocked:-5 blocked:1x blocked:99999999999 blocked:3600001 blockedx; do
    run $bad p
    verdict "CORUN_DEBUG=$bad is refused" \
        "[ \$code -ge 128 ] && has \"^corun: .*CORUN_DEBUG: .*'$bad'; known: stacks, private, overflow, hooks, blocked, blocked:<ms>\""
done
exit $status
