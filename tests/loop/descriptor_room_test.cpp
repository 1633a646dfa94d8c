// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/descriptor_room.h"
#include "tests/loop/loop_fixture.h"

#include <atomic>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

using namespace corun;

namespace {

// The process has a low limit, and its own one back at the end.
class DescriptorRoom : public ::testing::Test {
  protected:
    static constexpr rlim_t low = 300;

    DescriptorRoom() {
        getrlimit(RLIMIT_NOFILE, &former_);
        set(low);
    }
    ~DescriptorRoom() override { setrlimit(RLIMIT_NOFILE, &former_); }

    static void set(rlim_t soft) {
        rlimit now{};
        getrlimit(RLIMIT_NOFILE, &now);
        now.rlim_cur = soft;
        ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
    }
    static rlim_t limit() {
        rlimit now{};
        getrlimit(RLIMIT_NOFILE, &now);
        return now.rlim_cur;
    }

  private:
    rlimit former_{};
};

void use_a_loop() {
    stCoRoutine_t *co = nullptr;
    co_create(
        &co, nullptr,
        [](void *) -> void * {
            co_sleep_ms(0);
            return nullptr;
        },
        nullptr);
    co_resume(co);
    co_run();
    co_release(co);
}

} // namespace

TEST_F(DescriptorRoom, IsTakenBack) {
    {
        descriptor_room room;
        EXPECT_GT(limit(), low);
    }
    EXPECT_EQ(limit(), low);
}

TEST_F(DescriptorRoom, WhatTheProgramSetsMeanwhileStays) {
    {
        descriptor_room room;
        set(low + 1);
    }
    EXPECT_EQ(limit(), low + 1);
}

TEST_F(DescriptorRoom, ThreadsThatStartLoopsAtOnceLeaveTheLimitAsItWas) {
    for (int round = 0; round < 200; ++round) {
        std::atomic<int> at_the_start{0};
        auto start = [&] {
            for (++at_the_start; at_the_start < 3;)
                ;
            use_a_loop();
        };
        std::thread a(start), b(start), c(start);
        a.join(), b.join(), c.join();
        ASSERT_EQ(limit(), low) << "in round " << round;
    }
}

TEST_F(DescriptorRoom, WhereThereIsEnoughTheLimitIsLeftAlone) {
    set(1024);
    descriptor_room another_threads; // who wants one waits for its end
    std::thread(use_a_loop).join();
}

TEST_F(DescriptorRoom, AChildHasTheProgramsLimit) {
    std::atomic<bool> raised{false};
    std::thread other([&] {
        descriptor_room room;
        raised = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(20)); // time for the fork to come
    });
    while (!raised)
        ;
    pid_t child = fork();
    if (child ==
        0) // not by _exit: TSan would miss a join of the other thread, if that has ended already
        syscall(SYS_exit_group, limit() == low ? 0 : 1);
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    other.join();
}
