// SPDX-License-Identifier: Apache-2.0
// Barriers of coroutines and plain threads together, by libc's protocol on libc's words, because the
// threads (and other processes) use libc's functions:
//
//     in       counts arrivals, of many rounds; the arrival that completes a round moves `round` up
//     round    up to which arrival everybody may go on
//     out      counts those who have left; the last one of the highest round sets all back to zero
//
// pthread_barrier_init is libc's own.
//
// Rules
//  - Coroutines wait for all of the words at the barrier's address. Whoever may have changed one,
//    plain threads included, wakes them afterwards, by address alone: the barrier may be gone.
//  - No cancellation point: libc declares it noexcept. A cancel waits for the next wait.
//  - An arrival stands: a coroutine released while it waits has arrived, and leaves.
//  - On a shared barrier the wait looks again after 1 to 20 ms, for arrivals of other processes.
#include "co_hook/calls/address_wait.h"
#include "co_hook/calls/back_off.h"
#include "co_hook/symbols/hook.h"

#include <climits>
#include <linux/futex.h>
#include <pthread.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;

struct barrier_words {
    unsigned in, round, count;
    int shared;
    unsigned out;
};
static_assert(sizeof(barrier_words) <= sizeof(pthread_barrier_t));

barrier_words *words_of(pthread_barrier_t *b) { return reinterpret_cast<barrier_words *>(b); }

// ThreadSanitizer takes a barrier as libc's, and reads its first byte itself. So it is not shown what
// we do to the words, but what a barrier means.
void show_arrival(barrier_words *b) { san_release(b); }
void show_departure(barrier_words *b) { san_acquire(b); }

CO_NO_SANITIZE unsigned load(const unsigned *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

// The arrivals before the words are set back: the most that make whole rounds, below half of what
// the counter holds.
unsigned highest_arrival(unsigned count) {
    constexpr unsigned half = UINT_MAX / 2;
    return half - half % count;
}

void wake_threads(unsigned *word, int shared) {
    sys::call(SYS_futex, word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG), INT_MAX);
}

// `leaving` participants go. The last touch of the barrier, unless it is the last one of all.
CO_NO_SANITIZE void leave(barrier_words *b, unsigned leaving) {
    unsigned last = highest_arrival(b->count);
    int shared = b->shared;
    if (__atomic_add_fetch(&b->out, leaving, __ATOMIC_ACQ_REL) != last)
        return;
    __atomic_store_n(&b->round, 0U, __ATOMIC_RELAXED);
    __atomic_store_n(&b->out, 0U, __ATOMIC_RELAXED);
    __atomic_store_n(&b->in, 0U, __ATOMIC_RELEASE);
    wake_threads(&b->in, shared);
    calls::wake_at(b, INT_MAX);
}

void abandon_arrival(coroutine *co) {
    auto *b = static_cast<barrier_words *>(const_cast<void *>(co->subject.object));
    calls::abandon_address_wait(co);
    if (co->state != co_state::ended) // in the child of a fork
        leave(b, 1);
}

constexpr wait_kind arrival_kind{"pthread_barrier_wait", false, abandon_arrival, nullptr,
                                 ended_by::program};
constexpr wait_kind barrier_kind{"pthread_barrier", false, calls::abandon_address_wait};

using question = bool (*)(const void *barrier, uintptr_t argument);
CO_NO_SANITIZE bool may_go_on(const void *b, uintptr_t arrival) {
    return load(&static_cast<const barrier_words *>(b)->round) >= arrival;
}
CO_NO_SANITIZE bool has_room(const void *b, uintptr_t last) {
    return load(&static_cast<const barrier_words *>(b)->in) <= last;
}
CO_NO_SANITIZE bool is_empty(const void *b, uintptr_t) {
    return load(&static_cast<const barrier_words *>(b)->in) == 0;
}

// 0, -ENOMEM.
int wait_until(const wait_kind &kind, question answered, barrier_words *b, uintptr_t argument) {
    constexpr calls::wait_deadline for_ever = no_deadline;
    calls::back_off pauses;
    while (!answered(b, argument)) {
        calls::wait_deadline until = b->shared ? for_ever.within(pauses.next_ns()) : for_ever;
        int r = calls::wait_at_regardless(kind, b, answered, argument, until);
        if (!for_ever.goes_on(r))
            return r;
    }
    return 0;
}

// Moves the round up to this arrival's, if that is complete.
CO_NO_SANITIZE void complete_round(barrier_words *b, unsigned arrival) {
    unsigned round = load(&b->round), complete = arrival - arrival % b->count;
    while (round < complete)
        if (__atomic_compare_exchange_n(&b->round, &round, complete, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            wake_threads(&b->round, b->shared);
            calls::wake_at(b, INT_MAX);
            return;
        }
}

CO_NO_SANITIZE int arrive_in_coroutine(barrier_words *b) {
    show_arrival(b);
    unsigned last = highest_arrival(b->count), arrival;
    while ((arrival = __atomic_add_fetch(&b->in, 1U, __ATOMIC_ACQ_REL)) > last)
        if (int r = wait_until(barrier_kind, has_room, b, last))
            return -r;
    complete_round(b, arrival);
    int r = wait_until(arrival_kind, may_go_on, b, arrival);
    bool is_last_of_round = arrival % b->count == 0;
    show_departure(b);
    leave(b, 1);
    if (r != 0)
        return -r;
    return is_last_of_round ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}

// Those who were let go may not have left yet, and some may be coroutines of this thread.
CO_NO_SANITIZE int destroy_in_coroutine(barrier_words *b) {
    unsigned last = highest_arrival(b->count), in = load(&b->in);
    leave(b, last - in);
    return -wait_until(barrier_kind, is_empty, b, 0);
}

// What stands in for libc's.
CO_NO_SANITIZE int raw_arrive(barrier_words *b) {
    unsigned last = highest_arrival(b->count), arrival, round;
    long wait = FUTEX_WAIT | (b->shared ? 0 : FUTEX_PRIVATE_FLAG);
    while ((arrival = __atomic_add_fetch(&b->in, 1U, __ATOMIC_ACQ_REL)) > last)
        for (unsigned in; (in = load(&b->in)) > last;)
            sys::call(SYS_futex, &b->in, wait, in, nullptr);
    complete_round(b, arrival);
    while ((round = load(&b->round)) < arrival)
        sys::call(SYS_futex, &b->round, wait, round, nullptr);
    bool is_last_of_round = arrival % b->count == 0;
    leave(b, 1);
    return is_last_of_round ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}
CO_NO_SANITIZE int raw_destroy(barrier_words *b) {
    long wait = FUTEX_WAIT | (b->shared ? 0 : FUTEX_PRIVATE_FLAG);
    leave(b, highest_arrival(b->count) - load(&b->in));
    for (unsigned in; (in = load(&b->in)) != 0;)
        sys::call(SYS_futex, &b->in, wait, in, nullptr);
    return 0;
}

} // namespace

CORUN_NATIVE(int, pthread_barrier_wait, (pthread_barrier_t * b), raw_arrive(words_of(b)));
int hook_pthread_barrier_wait(pthread_barrier_t *b) {
    if (hooks_are_on(family))
        return arrive_in_coroutine(words_of(b));
    int r = native_pthread_barrier_wait(b); // it may have completed the round, or set all back
    calls::wake_at(b, INT_MAX);
    return r;
}
CORUN_NATIVE(int, pthread_barrier_destroy, (pthread_barrier_t * b), raw_destroy(words_of(b)));
int hook_pthread_barrier_destroy(pthread_barrier_t *b) {
    return hooks_are_on(family) ? destroy_in_coroutine(words_of(b))
                                : native_pthread_barrier_destroy(b);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_barrier_wait, P),
    CORUN_ENTRY(pthread_barrier_destroy, P),
};

} // namespace

CORUN_TABLE(barrier_table, entries);

} // namespace corun::symbols
