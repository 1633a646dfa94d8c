// SPDX-License-Identifier: Apache-2.0
// What the tests of loop/offload.h share: calls to give to helpers, and a fixture that ends them all.
#pragma once

#include "co_routine/loop/offload.h"
#include "co_routine/loop/offload_pool.h"
#include "tests/loop/in_loop.h"

#include <atomic>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

using namespace corun;

inline constexpr wait_kind kind{"offloaded", false, nullptr};
inline constexpr wait_kind fd_kind{"offloaded", true, nullptr};

inline long address(const void *p) { return reinterpret_cast<long>(p); }

inline int64_t nap_us(void *us) {
    sys::kernel_timespec t{0, *static_cast<int64_t *>(us) * 1000};
    return sys::call(sys::nr_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr);
}

struct temporary_file {
    char path[32] = "/tmp/corun-offload-XXXXXX";
    int fd;
    temporary_file() : fd(mkostemp(path, O_CLOEXEC)) {}
    ~temporary_file() {
        close(fd);
        unlink(path);
    }
};

struct pipe_pair {
    int fds[2];
    pipe_pair() { EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0); }
    ~pipe_pair() {
        close(fds[0]);
        close(fds[1]);
    }
};

inline std::atomic<int> late_results;
inline std::atomic<int64_t> last_late_result;
inline void note_late(int64_t result, const long *) {
    last_late_result = result;
    ++late_results;
}

inline int64_t offloaded_read(int fd, void *buffer, size_t bytes, int64_t deadline = no_deadline) {
    offload_buffer out{buffer, bytes, false, true, true};
    return offload_syscall(fd_kind, offload_own, SYS_read,
                           {fd, address(buffer), static_cast<long>(bytes), 0, 0, 0}, &out, 1,
                           deadline, note_late);
}

class Offload : public testing::Test {
  protected:
    void SetUp() override { late_results = 0; }
    void TearDown() override {
        __atomic_store_n(&helper_idle_limit_ns, 5 * ns_per_s, __ATOMIC_RELAXED);
        offload_end_helpers();
        // Own calls that were given up end on their own.
        EXPECT_TRUE(run_until([] { return offload_helper_count() == 0; }));
    }
};
