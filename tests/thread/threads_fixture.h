// SPDX-License-Identifier: Apache-2.0
// Threads with a loop each.
//
//     loop_thread t([&] { ... });   // a coroutine of a new thread; the thread ends with its loop
//     t.join();
//
// TearDown proves that no descriptor was left behind by the threads.
#pragma once

#include "tests/loop/loop_fixture.h"

#include <atomic>
#include <thread>

class loop_thread {
  public:
    template <class... F> explicit loop_thread(F... bodies) {
        std::vector<std::function<void()>> all{std::function<void()>(bodies)...};
        thread_ = std::thread([all] {
            coroutine_bodies made;
            for (const auto &body : all)
                made.go(body, nullptr, false);
            co_run();
        });
    }
    explicit loop_thread(std::vector<std::function<void()>> all) {
        thread_ = std::thread([all] {
            coroutine_bodies made;
            for (const auto &body : all)
                made.go(body, nullptr, false);
            co_run();
        });
    }
    void join() { thread_.join(); }

  private:
    std::thread thread_;
};

// For a thread without a loop to wait for another one.
template <class F> bool eventually(F condition) {
    int64_t until = soon();
    while (!condition()) {
        if (corun::now_ns() > until)
            return false;
        std::this_thread::yield();
    }
    return true;
}

using ThreadsTest = LoopTest;
