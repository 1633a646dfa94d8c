// SPDX-License-Identifier: Apache-2.0
/*
 * sync_bench.cpp - what co_routine/sync costs on one thread, beside the pthread calls.
 *
 *     sync_bench [rounds]
 *
 * One operation: a lock and an unlock; a lock that is handed from one coroutine to another, switch
 * included; one item from a sender to a receiver.
 */
#include "co_routine/co_routine.h"
#include "perf/bench.h"

#include <pthread.h>

namespace {

// Two coroutines that run until each has done half of n.
void run_pair(void *(*first)(void *), void *(*second)(void *), void *arg) {
    if (co_go(nullptr, nullptr, first, arg) != 0 || co_go(nullptr, nullptr, second, arg) != 0)
        abort();
    co_run();
}

struct pair_state {
    uint64_t each;
    co_mutex_t mutex;
    co_sem_t ping, pong;
    co_chan_t *chan;
};

// With two that always want it, every unlock hands over and every lock waits.
void *lock_and_unlock(void *arg) {
    pair_state *s = static_cast<pair_state *>(arg);
    for (uint64_t i = s->each; i--;) {
        co_mutex_lock(&s->mutex);
        co_yield_now();
        co_mutex_unlock(&s->mutex);
    }
    return nullptr;
}

void *ping(void *arg) {
    pair_state *s = static_cast<pair_state *>(arg);
    for (uint64_t i = s->each; i--;) {
        co_sem_post(&s->ping);
        co_sem_wait(&s->pong);
    }
    return nullptr;
}

void *pong(void *arg) {
    pair_state *s = static_cast<pair_state *>(arg);
    for (uint64_t i = s->each; i--;) {
        co_sem_wait(&s->ping);
        co_sem_post(&s->pong);
    }
    return nullptr;
}

void *send_all(void *arg) {
    pair_state *s = static_cast<pair_state *>(arg);
    for (uint64_t i = 0; i < s->each; i++)
        co_chan_send(s->chan, &i);
    return nullptr;
}

void *receive_all(void *arg) {
    pair_state *s = static_cast<pair_state *>(arg);
    uint64_t item = 0;
    for (uint64_t i = s->each; i--;)
        co_chan_recv(s->chan, &item);
    bench::keep(item);
    return nullptr;
}

void channel(uint64_t n, size_t capacity) {
    pair_state s{};
    s.each = n;
    if (co_chan_create(&s.chan, sizeof(uint64_t), capacity) != 0)
        abort();
    run_pair(send_all, receive_all, &s);
    co_chan_destroy(s.chan);
}

} // namespace

int main(int argc, char **argv) {
    const int rounds = argc > 1 ? atoi(argv[1]) : 31;
    bench::pin_to_cpu();
    bench::print_environment();

    bench::table locks("ns per lock and unlock that nobody else wants");
    locks.add("pthread_mutex", 1000000, [](uint64_t n) {
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        while (n--) {
            pthread_mutex_lock(&m);
            pthread_mutex_unlock(&m);
        }
    });
    locks.add("co_mutex", 1000000, [](uint64_t n) {
        co_mutex_t m = {};
        while (n--) {
            co_mutex_lock(&m);
            co_mutex_unlock(&m);
        }
    });
    locks.add("co_rwlock (read)", 1000000, [](uint64_t n) {
        co_rwlock_t rw = {};
        while (n--) {
            co_rwlock_rdlock(&rw);
            co_rwlock_unlock(&rw);
        }
    });
    locks.add("co_chan, send and recv, one coroutine", 1000000, [](uint64_t n) {
        co_chan_t *ch;
        if (co_chan_create(&ch, sizeof n, 1) != 0)
            abort();
        for (; n; n--) {
            uint64_t item = n;
            co_chan_send(ch, &item);
            co_chan_recv(ch, &item);
        }
        co_chan_destroy(ch);
    });
    locks.run(rounds);

    bench::table pairs("ns per operation between two coroutines of one thread");
    pairs.add("yield only", 200000, [](uint64_t n) {
        const auto body = [](void *arg) -> void * {
            for (uint64_t i = *static_cast<uint64_t *>(arg); i--;)
                co_yield_now();
            return nullptr;
        };
        uint64_t each = n / 2;
        run_pair(body, body, &each);
    });
    pairs.add("co_mutex handed over", 200000, [](uint64_t n) {
        pair_state s{};
        s.each = n / 2;
        run_pair(lock_and_unlock, lock_and_unlock, &s);
    });
    pairs.add("co_sem ping-pong, one way", 200000, [](uint64_t n) {
        pair_state s{};
        s.each = n / 2;
        run_pair(ping, pong, &s);
    });
    pairs.add("co_chan, capacity 0, an item", 200000, [](uint64_t n) { channel(n, 0); });
    pairs.add("co_chan, capacity 1, an item", 200000, [](uint64_t n) { channel(n, 1); });
    pairs.add("co_chan, capacity 64, an item", 200000, [](uint64_t n) { channel(n, 64); });
    pairs.run(rounds);
}
