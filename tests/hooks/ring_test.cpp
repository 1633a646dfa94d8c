// SPDX-License-Identifier: Apache-2.0
// io_uring of the program's own, through syscall().
#include "both.h"

#include <algorithm>
#include <limits>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// The times of a ring's wait are as the kernel has them: too large is for ever.
TEST(Ring, WaitsForeverWhereTheTimeDoesNotFit) {
    io_uring_params parameters{};
    auto ring = static_cast<int>(syscall(SYS_io_uring_setup, 4, &parameters));
    if (ring < 0)
        GTEST_SKIP() << "no io_uring: " << strerror(errno);
    size_t bytes = std::max<size_t>(parameters.sq_off.array + parameters.sq_entries * 4,
                                    parameters.cq_off.cqes + parameters.cq_entries * 16);
    void *rings =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    void *entries = mmap(nullptr, parameters.sq_entries * sizeof(io_uring_sqe),
                         PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    ASSERT_NE(rings, MAP_FAILED);
    ASSERT_NE(entries, MAP_FAILED);
    auto word_at = [&](unsigned offset) {
        return reinterpret_cast<unsigned *>(static_cast<char *>(rings) + offset);
    };
    long long longest = std::numeric_limits<long long>::max();
    for (long long seconds : {longest, longest / 1000000000 + 1}) {
        expect_same([&](side &s) {
            s.partner([&](side &p) { // completes one of nothing
                usleep(2000);
                unsigned tail = *word_at(parameters.sq_off.tail);
                memset(entries, 0, parameters.sq_entries * sizeof(io_uring_sqe));
                *word_at(parameters.sq_off.array + tail % parameters.sq_entries * 4) = 0;
                __atomic_store_n(word_at(parameters.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
                p.says("one", syscall(SYS_io_uring_enter, ring, 1, 0, 0, nullptr, 0));
            });
            __kernel_timespec time{seconds, 0};
            io_uring_getevents_arg argument{};
            argument.ts = reinterpret_cast<uintptr_t>(&time);
            s.says("wait", syscall(SYS_io_uring_enter, ring, 0, 1,
                                   IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                                   sizeof argument));
            __atomic_store_n(word_at(parameters.cq_off.head), *word_at(parameters.cq_off.tail),
                             __ATOMIC_RELEASE);
        });
    }
    munmap(rings, bytes);
    munmap(entries, parameters.sq_entries * sizeof(io_uring_sqe));
    close(ring);
}
