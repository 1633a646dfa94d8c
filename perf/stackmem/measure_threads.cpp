// SPDX-License-Identifier: Apache-2.0
/*
 * Threads that take turns with the main one by futexes: the kernel's own switch, with nothing of
 * ours before it (the library's sem_wait is a hook). Since Linux 6.16 a process has a table of its own
 * for those who wait, of a few entries for each processor: with ten thousand threads in it a wake-up
 * would be a walk of thousands. Servers' threads wait in sockets and never meet that; so the table is
 * made large before the threads are.
 */
#include "perf/stackmem/measure.h"

#include "co_routine/base/raw_sys.h"
#include "perf/stackmem/drive.h"
#include "perf/stackmem/live_bytes.h"

#include <atomic>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>

namespace stackmem {
namespace {

struct turn {
    std::atomic<int> given;
    void give() {
        given.store(1, std::memory_order_release);
        corun::sys::call(corun::sys::nr_futex, &given, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    void take() {
        while (given.exchange(0, std::memory_order_acquire) == 0)
            corun::sys::call(corun::sys::nr_futex, &given, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr,
                             0);
    }
};

void enlarge_futex_table(long threads) {
    constexpr int futex_hash = 78, set_slots = 1; // PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS
    unsigned long slots = 16;
    while (slots < static_cast<unsigned long>(threads) && slots < 65536)
        slots *= 2;
    prctl(futex_hash, set_slots, slots, 0UL,
          0UL); // an older kernel has one table for all, and says no
}

turn *turns, main_turn;
std::atomic<long> waiting, damage;
std::atomic<bool> may_end;

void *waiting_thread(void *number) {
    damage += with_live_bytes(reinterpret_cast<uintptr_t>(number), [](uintptr_t n) {
        waiting++;
        for (;;) {
            turns[n].take();
            if (may_end)
                return;
            main_turn.give();
        }
    });
    return nullptr;
}

class threads {
  public:
    threads(const plan &p, long count) : all_(prepared_array<pthread_t>(count)) {
        enlarge_futex_table(count);
        turns = prepared_array<turn>(count);
        pthread_attr_init(&attributes_);
        pthread_attr_setstacksize(&attributes_, static_cast<size_t>(p.stack_bytes));
    }
    int make(long i) {
        if (all_ == nullptr || turns == nullptr)
            return ENOMEM;
        turns[i].given = 0;
        return pthread_create(&all_[i], &attributes_, waiting_thread, reinterpret_cast<void *>(i));
    }
    void made_until(long n) {
        while (waiting < n)
            sched_yield();
    }
    void activate(long i) {
        turns[i].give();
        main_turn.take();
    }
    void end(long from, long to) {
        may_end = true;
        for (long i = from; i < to; i++)
            turns[i].give();
        for (long i = from; i < to; i++)
            pthread_join(all_[i], nullptr);
    }
    long damaged() const { return damage; }
    void read(measurement *) {}

  private:
    pthread_t *all_;
    pthread_attr_t attributes_;
};

} // namespace

void measure_threads(const plan &p, const ceiling &c, measurement *m) {
    threads s(p, c.count);
    drive(s, p, c, m);
}

} // namespace stackmem
