#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun beside what else people put in front of a program: allocators in either order, a profiler, what
# is still at work when the process exits; no_new_privs.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
[ -e "$B/libcorun_waist.so" ] || { echo "skip - beside others: libcorun_waist.so is not built"; exit 0; }
status=0
works() { # what, command: two threads take turns 1,000 times, without a switch of the kernel's
    if timeout 60 "${@:2}" >"$scratch/out" 2>&1 &&
        grep -qE 'each of [0-9]+ hand-overs, [0-9]{1,2} context switches' "$scratch/out"; then
        echo "ok - $1"
    else
        head -5 "$scratch/out"
        echo "not ok - $1"
        status=1
    fi
}
scratch=$(mktemp -d)
program=$scratch/pingpong
trap 'rm -rf "$scratch"' EXIT
${CC:-cc} -O1 -w -pthread perf/pingpong.c -o "$program" || exit 1
works 'alone' "$B/corun" "$program" 1000
for library in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
    path=/usr/lib/x86_64-linux-gnu/$library
    if [ ! -e "$path" ]; then
        echo "skip - beside $library: not installed"
        continue
    fi
    works "in front of $library" env LD_PRELOAD="$path" "$B/corun" "$program" 1000
    works "behind $library" env LD_PRELOAD="$path:$B/libcorun_waist.so" "$program" 1000
done
cat >"$scratch/profiler.c" <<'END'
#include <execinfo.h>
#include <signal.h>
#include <sys/time.h>
static void sample(int s) {
    void *frames[64];
    backtrace(frames, 64 + 0 * s);
}
__attribute__((constructor)) static void begin(void) {
    struct itimerval often = {{0, 1000}, {0, 1000}};
    void *frame;
    backtrace(&frame, 1);
    struct sigaction a = {.sa_handler = sample, .sa_flags = SA_RESTART};
    sigaction(SIGPROF, &a, 0);
    setitimer(ITIMER_PROF, &often, 0);
}
END
${CC:-cc} -O1 -w -shared -fPIC "$scratch/profiler.c" -o "$scratch/profiler.so" || exit 1
works 'in front of a profiler' env LD_PRELOAD="$scratch/profiler.so" "$B/corun" "$program" 20000
# A library whose destructor runs when ours would, and asks for what concerns stacks: threads had some.
cat >"$scratch/late.c" <<'END'
#include <sys/mman.h>
#include <unistd.h>
static void *pages;
__attribute__((constructor)) static void begin(void) {
    pages = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
__attribute__((destructor)) static void end(void) {
    if (munmap(pages, 1 << 20) == 0)
        write(1, "unmapped\n", 9);
}
END
cat >"$scratch/threads.c" <<'END'
#include <pthread.h>
static void *wait_a_turn(void *unused) { return sched_yield(), unused; }
int main(void) {
    pthread_t all[20];
    for (int i = 0; i < 20; ++i)
        pthread_create(&all[i], 0, wait_a_turn, 0);
    for (int i = 0; i < 20; ++i)
        pthread_join(all[i], 0);
}
END
${CC:-cc} -O1 -w -shared -fPIC "$scratch/late.c" -o "$scratch/late.so" &&
    ${CC:-cc} -O1 -w -pthread "$scratch/threads.c" -o "$scratch/threads" || exit 1
what='in front of a library that unmaps pages when the process exits'
if LD_PRELOAD=$scratch/late.so timeout 60 "$B/corun" "$scratch/threads" >"$scratch/out" 2>&1 && grep -qx unmapped "$scratch/out"; then
    echo "ok - $what"
else
    head -5 "$scratch/out"
    echo "not ok - $what"
    status=1
fi
if command -v setpriv >/dev/null; then
    works 'without new privileges' setpriv --no-new-privs "$B/corun" "$program" 1000
else
    echo 'skip - without new privileges: no setpriv'
fi
exit $status
