// SPDX-License-Identifier: Apache-2.0
// parked COUNT [dump|abort], for gdb_test.sh and parked_test.sh: so many coroutines and four in a second
// thread, parked in 14 ways, 1 to 40 calls of nest() deep, half of them on shared stacks; 1120 is one for
// each way, depth and kind of stack. It says what each must look like, one a line:
//
//     seat 17 way in_recv depth 13 stack shared
//
// then "ready". A byte on its standard input lets everybody go, and each looks whether its variables are
// as they were; status 0 if so. dump: co_dump comes before "ready". abort: when the byte comes it aborts,
// everybody still parked.
#include "co_routine/co_routine.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr int ways = 14, most_seats = 2 * 40 * ways, seats_of_second_thread = 4, deepest = 40;

int seats;
bool must_dump, must_abort;
int ends[most_seats + seats_of_second_thread][2];
stCoRoutine_t *sitting[most_seats + seats_of_second_thread];
std::atomic<bool> released, spoiled;
std::atomic<int> left_nest;
co_mutex_t mutex;
co_rwlock_t rwlock;
co_sem_t sem;
co_wg_t group;
stCoCond_t *cond;
co_chan_t *empty_channel, *full_channel;
stCoRoutine_t *keeper;

int depth_of(int seat) { return 1 + seat % seats * deepest / seats; }
bool is_shared(int seat) { return seat / ways % 2 == 0; }

void expect(bool so) {
    if (!so)
        spoiled = true;
}

} // namespace

// What a debugger is to see, by these names.
#define SEEN extern "C" __attribute__((noinline))

SEEN void in_yield(int seat) {
    co_yield_to_resumer(co_self());
    expect(seat >= 0); // no tail call
}
SEEN void in_sleep(int) { expect(co_sleep_ms(1000000000) == ECANCELED); }
SEEN void in_recv(int seat) {
    char byte = 0;
    expect(recv(ends[seat][0], &byte, 1, 0) == 1 && byte == static_cast<char>(seat));
}
SEEN void in_read(int seat) {
    char byte = 0;
    expect(read(ends[seat][0], &byte, 1) == 1 && byte == static_cast<char>(seat));
}
SEEN void in_poll(int seat) {
    pollfd one{ends[seat][0], POLLIN, 0};
    expect(poll(&one, 1, 1000000000) == 1 && one.revents == POLLIN);
}
SEEN void in_mutex(int) { expect(co_mutex_lock(&mutex) == 0 && co_mutex_unlock(&mutex) == 0); }
SEEN void in_rdlock(int) {
    expect(co_rwlock_rdlock(&rwlock) == 0 && co_rwlock_unlock(&rwlock) == 0);
}
SEEN void in_wrlock(int) {
    expect(co_rwlock_wrlock(&rwlock) == 0 && co_rwlock_unlock(&rwlock) == 0);
}
SEEN void in_sem(int) { expect(co_sem_wait(&sem) == 0); }
SEEN void in_cond(int) { expect(co_cond_timedwait(cond, -1) == 0); }
SEEN void in_group(int) { expect(co_wg_wait(&group) == 0); }
SEEN void in_chan_recv(int) {
    int item = 0;
    expect(co_chan_recv(empty_channel, &item) == 0 && item == 4711);
}
SEEN void in_chan_send(int seat) { expect(co_chan_send(full_channel, &seat) == 0); }
SEEN void in_join(int) { expect(co_join(keeper, nullptr) == 0); }

struct way {
    const char *name;
    void (*wait)(int seat);
};
static const way all_ways[ways] = {
    {"in_yield", in_yield},         {"in_sleep", in_sleep},   {"in_recv", in_recv},
    {"in_read", in_read},           {"in_poll", in_poll},     {"in_mutex", in_mutex},
    {"in_rdlock", in_rdlock},       {"in_wrlock", in_wrlock}, {"in_sem", in_sem},
    {"in_cond", in_cond},           {"in_group", in_group},   {"in_chan_recv", in_chan_recv},
    {"in_chan_send", in_chan_send}, {"in_join", in_join},
};
static const way &way_of(int seat) { return all_ways[seat < seats ? seat % ways : 2]; }

SEEN void nest(int seat, int left) {
    volatile int mark = seat * 1000 + left;
    if (left > 1)
        nest(seat, left - 1);
    else
        way_of(seat).wait(seat);
    expect(mark == seat * 1000 + left);
    ++left_nest;
}

SEEN void *begin(void *argument) {
    int seat = static_cast<int>(reinterpret_cast<intptr_t>(argument));
    co_enable_hook_sys();
    if (way_of(seat).wait == in_sleep)
        co_cancel_mode(CO_CANCEL_ERRNO);
    nest(seat, depth_of(seat));
    return nullptr;
}

SEEN void everybody_is_released() { released = true; }

static void seat_one(int seat, stShareStack_t *stacks) {
    stCoRoutineAttr_t attr;
    memset(&attr, 0, sizeof attr);
    attr.share_stack = is_shared(seat) ? stacks : nullptr;
    if (way_of(seat).wait == in_read)
        expect(pipe(ends[seat]) == 0);
    if (way_of(seat).wait == in_recv || way_of(seat).wait == in_poll)
        expect(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[seat]) == 0);
    void *number = reinterpret_cast<void *>(static_cast<intptr_t>(seat));
    expect(co_go(&sitting[seat], &attr, begin, number) == 0);
    char name[16];
    snprintf(name, sizeof name, "seat %d", seat);
    co_set_name(sitting[seat], name);
    printf("seat %d way %s depth %d stack %s\n", seat, way_of(seat).name, depth_of(seat),
           is_shared(seat) ? "shared" : "private");
}

static void let_go() {
    for (int seat = 0; seat < seats + seats_of_second_thread; ++seat) {
        char byte = static_cast<char>(seat);
        if (ends[seat][1])
            expect(write(ends[seat][1], &byte, 1) == 1);
        if (way_of(seat).wait == in_yield)
            co_wake(sitting[seat]);
        if (way_of(seat).wait == in_sleep)
            co_cancel(sitting[seat]);
        if (way_of(seat).wait == in_sem)
            co_sem_post(&sem);
        int item = 4711;
        if (way_of(seat).wait == in_chan_recv)
            co_chan_send(empty_channel, &item);
        if (way_of(seat).wait == in_chan_send)
            co_chan_recv(full_channel, &item);
    }
    co_mutex_unlock(&mutex);
    co_rwlock_unlock(&rwlock);
    co_cond_broadcast(cond);
    co_wg_done(&group);
}

// Holds what the others want until the byte comes.
static void *keep(void *) {
    co_enable_hook_sys();
    co_mutex_lock(&mutex);
    co_rwlock_wrlock(&rwlock);
    co_wg_add(&group, 1);
    char byte;
    expect(read(STDIN_FILENO, &byte, 1) == 1);
    if (must_abort)
        abort();
    everybody_is_released();
    let_go();
    return nullptr;
}

static void dump_if_wanted() {
    fflush(stdout);
    expect(!must_dump || co_dump(STDOUT_FILENO, CO_DUMP_STACKS) >= seats_of_second_thread);
}

// When everybody who can run has come to where it waits.
static void *say_ready(void *) {
    for (int i = 0; i < 3; ++i)
        co_yield_now();
    dump_if_wanted();
    printf("ready\n");
    fflush(stdout);
    return nullptr;
}

static void *second_thread(void *all_are_seated) {
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    for (int i = 0; i < seats_of_second_thread; ++i)
        seat_one(seats + i, stacks);
    auto post = [](void *sem) -> void * {
        dump_if_wanted();
        co_sem_post(static_cast<co_sem_t *>(sem));
        return nullptr;
    };
    co_go(nullptr, nullptr, post, all_are_seated); // after those seats, which wait by then
    co_run();
    return nullptr;
}

int main(int argc, char **argv) {
    seats = argc > 1 ? atoi(argv[1]) : 0;
    must_dump = argc > 2 && strcmp(argv[2], "dump") == 0;
    must_abort = argc > 2 && strcmp(argv[2], "abort") == 0;
    if (seats < 1 || seats > most_seats)
        return 2;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    co_mutex_init(&mutex);
    co_rwlock_init(&rwlock);
    co_sem_init(&sem, 0);
    co_wg_init(&group);
    cond = co_cond_alloc();
    int item = 1;
    co_chan_create(&empty_channel, sizeof item, 1);
    co_chan_create(&full_channel, sizeof item, 1);
    co_chan_send(full_channel, &item);
    pthread_t second;
    co_sem_t all_are_seated;
    co_sem_init(&all_are_seated, 0);
    pthread_create(&second, nullptr, second_thread, &all_are_seated);
    co_sem_wait(&all_are_seated);

    expect(co_go(&keeper, nullptr, keep, nullptr) == 0);
    co_set_name(keeper, "keeper");
    stShareStack_t *stacks = co_alloc_sharestack(3, 64 * 1024);
    for (int seat = 0; seat < seats; ++seat)
        seat_one(seat, stacks);
    co_go(nullptr, nullptr, say_ready, nullptr);
    co_run();
    pthread_join(second, nullptr);
    int calls = 0;
    for (int seat = 0; seat < seats + seats_of_second_thread; ++seat)
        calls += depth_of(seat);
    return released && !spoiled && left_nest == calls ? 0 : 1;
}
