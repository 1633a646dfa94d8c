// SPDX-License-Identifier: Apache-2.0
/* What an idle process costs: coroutines that wait for data and for far deadlines, and nothing comes.
 *
 *     idle_bench              10 s, as the README quotes it
 *     idle_bench --check      fails when a target of the README is missed
 *
 * Counted twice: the loop's own returns from epoll_wait, and what the kernel says of the process
 * (voluntary and involuntary context switches of all its threads).
 */
#include "co_routine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/resource.h>
#include <sys/socket.h>

namespace {

constexpr int connections = 1000, sleepers = 100000, seconds = 10;
constexpr unsigned long wakeups_target = 5;

void *wait_for_data(void *fd) {
    co_enable_hook_sys();
    char c;
    return reinterpret_cast<void *>(recv(static_cast<int>(reinterpret_cast<long>(fd)), &c, 1, 0));
}

void *sleep_for_an_hour(void *) {
    co_sleep_ms(3600 * 1000);
    return nullptr;
}

struct seen {
    unsigned long wakeups, switches;
};
seen look() {
    co_stats stats;
    co_get_stats(&stats);
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return {static_cast<unsigned long>(stats.wakeups),
            static_cast<unsigned long>(usage.ru_nvcsw + usage.ru_nivcsw)};
}

void *measure(void *out) {
    co_sleep_ms(200); // the others have begun to wait
    seen before = look();
    co_sleep_ms(seconds * 1000);
    seen after = look();
    *static_cast<seen *>(out) = {after.wakeups - before.wakeups, after.switches - before.switches};
    return nullptr;
}

void start(pfn_co_routine_t body, void *argument, stShareStack_t *stacks) {
    stCoRoutineAttr_t attr;
    attr.share_stack = stacks;
    if (int e = co_go(nullptr, &attr, body, argument)) {
        fprintf(stderr, "idle_bench: no coroutine: %s\n", strerror(e));
        exit(1);
    }
}

} // namespace

int main(int argc, char **argv) {
    const bool checking = argc == 2 && strcmp(argv[1], "--check") == 0;
    if (argc > 1 && !checking) {
        fprintf(stderr, "usage: idle_bench [--check]\n");
        return 2;
    }
    stShareStack_t *stacks = co_alloc_sharestack(16, 128 * 1024);
    for (int i = 0; i < connections / 2; ++i) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
            perror("idle_bench: socketpair (raise ulimit -n to 2,000)");
            return 1;
        }
        for (int fd : pair)
            start(wait_for_data, reinterpret_cast<void *>(static_cast<long>(fd)), stacks);
    }
    for (int i = 0; i < sleepers; ++i)
        start(sleep_for_an_hour, nullptr, stacks);
    seen idle{};
    stCoRoutine_t *meter;
    if (int e = co_go(&meter, nullptr, measure, &idle)) {
        fprintf(stderr, "idle_bench: no coroutine: %s\n", strerror(e));
        return 1;
    }
    printf("%d coroutines wait in recv, %d sleep for an hour; %d s pass ...\n", connections,
           sleepers, seconds);
    fflush(stdout);
    co_join(meter, nullptr); // the loop runs until then
    printf("  wake-ups of the loop        %lu\n  context switches, kernel's  %lu\n", idle.wakeups,
           idle.switches);
    const bool met = idle.wakeups < wakeups_target;
    printf("  under %lu wake-ups in %d s: %s\n", wakeups_target, seconds, met ? "met" : "MISSED");
    return checking && !met ? 1 : 0;
}
