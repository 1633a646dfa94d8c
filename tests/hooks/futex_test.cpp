// SPDX-License-Identifier: Apache-2.0
// syscall(), and the futexes behind it: what the kernel says, said to coroutines.
#include "futex_fixture.h"

#include <array>
#include <climits>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace {

TEST(Futex, ErrorsAreTheKernels) {
    expect_same([](side &s) {
        alignas(8) int words[2] = {5, 5};
        int *w = &words[0];
        auto *crooked = reinterpret_cast<char *>(w) + 1;
        auto *nowhere = reinterpret_cast<int *>(8);
        timespec bad{0, 1000000000}, negative{-1, 0}, soon = in_ms(-1, 1);
        s.says("changed", futex(w, FUTEX_WAIT_PRIVATE, 4));
        s.says("changed, shared", futex(w, FUTEX_WAIT, 4));
        s.says("changed, bitset", futex(w, FUTEX_WAIT_BITSET, 4, nullptr, nullptr, 1));
        s.says("no bits", futex(w, FUTEX_WAIT_BITSET, 5));
        s.says("crooked", futex(crooked, FUTEX_WAIT_PRIVATE, 5));
        s.says("nowhere", futex(nowhere, FUTEX_WAIT_PRIVATE, 5));
        s.says("bad time", futex(w, FUTEX_WAIT_PRIVATE, 5, &bad));
        s.says("negative time", futex(w, FUTEX_WAIT_PRIVATE, 4, &negative));
        s.says("time nowhere", futex(w, FUTEX_WAIT_PRIVATE, 5, nowhere));
        s.says("wall clock", futex(w, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 5, &soon));
        s.says("no such operation", futex(w, 77, 5));
        s.says("wake on the wall clock", futex(w, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 5));
        s.says("wake crooked", futex(crooked, FUTEX_WAKE_PRIVATE, 5));
        s.says("wake without bits", futex(w, FUTEX_WAKE_BITSET, 5));
        s.says("wake nobody", futex(w, FUTEX_WAKE_PRIVATE, INT_MAX));
        s.says("wake less than nobody", futex(w, FUTEX_WAKE_PRIVATE, -1));
        s.says("move less", futex(w, FUTEX_REQUEUE, 1, reinterpret_cast<void *>(-1L), w));
        s.says("move, changed",
               futex(w, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void *>(1L), w + 1, 4));
        s.says("wake_op nowhere", futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, nowhere, 0));
        s.says("no such wake_op",
               futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, w + 1, FUTEX_OP(6, 1, 0, 0)));
        s.says("no such comparison",
               futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, w + 1, FUTEX_OP(FUTEX_OP_ADD, 1, 9, 0)));
        s.says("but it was added", words[1]);
    });
}

TEST(Futex, TimeLimitsOfEachKind) {
    expect_same([](side &s) {
        word w{1};
        timespec relative = in_ms(-1, 5), past{0, 1}, zero{};
        s.says("relative", futex(&w, FUTEX_WAIT_PRIVATE, 1, &relative));
        s.says("no time", futex(&w, FUTEX_WAIT_PRIVATE, 1, &zero));
        s.says("shared", futex(&w, FUTEX_WAIT, 1, &relative));
        for (int clock : {CLOCK_MONOTONIC, CLOCK_REALTIME}) {
            int operation = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG |
                            (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);
            timespec until = in_ms(clock, 5);
            s.says("until", futex(&w, operation, 1, &until, nullptr, 6));
            timespec now;
            clock_gettime(clock, &now);
            s.says("it is over", now.tv_sec > until.tv_sec ||
                                     (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
            s.says("the past", futex(&w, operation, 1, &past, nullptr, ~0U));
        }
#if defined(__i386__)
        struct {
            int64_t seconds;
            int32_t nanoseconds, padding;
        } wide{0, 5000000, -1};
        s.says("time64", syscall(SYS_futex_time64, &w, FUTEX_WAIT_PRIVATE, 1, &wide));
#endif
    });
}

TEST(Futex, AWakeReachesWhoeverWaits) {
    for (int shared : {0, FUTEX_PRIVATE_FLAG})
        expect_same([shared](side &s) {
            word w{1};
            for (int i = 0; i < 3; ++i)
                s.partner([&](side &p) { p.says("wait", futex(&w, FUTEX_WAIT | shared, 1)); });
            s.says("woken one by one", wake_until(&w, 1, FUTEX_WAKE | shared));
            s.says("and the rest", wake_until(&w, 2, FUTEX_WAKE | shared));
            s.says("nobody is left", futex(&w, FUTEX_WAKE | shared, 9));
            s.join();
        });
}

TEST(Futex, BitsChooseWhoIsWoken) {
    expect_same([](side &s) {
        word w{1};
        for (unsigned bits : {1U, 2U, 6U})
            s.partner([&w, bits](side &p) {
                p.says("wait", futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr, bits));
            });
        s.says("2 wakes two", wake_until(&w, 2, FUTEX_WAKE_BITSET_PRIVATE, 2));
        s.says("4 nobody", futex(&w, FUTEX_WAKE_BITSET_PRIVATE, 9, nullptr, nullptr, 4));
        s.says("any wakes one", wake_until(&w, 1));
        s.join();
    });
}

TEST(Futex, WaitersAreMovedToAnotherWord) {
    for (int operation : {FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE})
        for (unsigned bits : {~0U, 3U})
            expect_same([operation, bits](side &s) {
                word from{1}, to{1};
                std::atomic<int> begun{0};
                for (int i = 0; i < 4; ++i)
                    s.partner([&](side &p) {
                        ++begun;
                        p.says("wait",
                               futex(&from, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr, bits));
                    });
                // All are asleep once two could be woken or moved onto the word itself four times.
                auto move = [&](word *onto, int wake, long most) {
                    return futex(&from, operation, wake, reinterpret_cast<void *>(most), onto, 1);
                };
                while (begun < 4 || move(&from, 0, 9) < 4)
                    sched_yield();
                s.says("one woken, two moved", move(&to, 1, 2));
                s.says("the first word's", wake_private(&from, 9));
                s.says("the second word's", wake_private(&to, 1));
                s.says("the second word's last", wake_private(&to, 9));
                s.join();
            });
}

TEST(Futex, WakeOpChangesAndComparesTheSecondWord) {
    expect_same([](side &s) {
        word a{1}, b{40};
        for (word *w : {&a, &b, &b})
            s.partner([w](side &p) { p.says("wait", wait_private(w, w->load())); });
        std::vector<std::pair<int, int>> kinds = {
            {FUTEX_OP_SET, FUTEX_OP_CMP_EQ},
            {FUTEX_OP_ADD, FUTEX_OP_CMP_NE},
            {FUTEX_OP_OR, FUTEX_OP_CMP_LT},
            {FUTEX_OP_ANDN, FUTEX_OP_CMP_LE},
            {FUTEX_OP_XOR, FUTEX_OP_CMP_GT},
            {FUTEX_OP_ADD, FUTEX_OP_CMP_GE},
            {FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, FUTEX_OP_CMP_EQ}};
        word c{7}, d{40};
        for (auto [operation, comparison] : kinds) {
            long r = futex(&c, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(1L), &d,
                           FUTEX_OP(operation, 5, comparison, 40));
            s.says("nobody waits", r);
            s.says("it is now", d.load());
        }
        long woken = 0; // one at a, two at b: as they fall asleep
        while (woken < 3) {
            woken += futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(2L), &b,
                           FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 40));
            sched_yield();
        }
        s.says("woken", woken);
        s.says("not when it differs",
               futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(2L), &b,
                     FUTEX_OP(FUTEX_OP_SET, -3, FUTEX_OP_CMP_GT, 40)));
        s.says("set", b.load());
        s.join();
    });
}

} // namespace
