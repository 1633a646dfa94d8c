// SPDX-License-Identifier: Apache-2.0
// The test of a hook is the kernel: one body, run on native threads and in coroutines with hooks on,
// must write the same trace.
//
//     expect_same([](side &s) {
//         int fd[2];
//         s.says("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
//         s.partner([=](side &p) { p.says("write", write(fd[1], "x", 1)); });
//         s.says("read", read(fd[0], buffer, 9));          // result, and errno where it is -1
//     });
//
// A partner is another thread or another coroutine; its lines come after the body's, in the order in
// which partners were started. The body's end waits for them.
//
// What is compared: results, errno where a result is -1, bytes (text), whether a time was waited for
// (waited), and the order within each side. What the kernel does not promise, such as the order
// between sides, the numbers of descriptors or how much a read of a stream gets, the body keeps out of
// its lines: the test is wrong otherwise, on threads already.
//
// Where corun differs on purpose, the test says so and why:
//
//     expect_same_but({{"read = 0", "read = -1 EBADF", "close wakes who waits on the descriptor"}},
//                     [](side &s) { ... });
#pragma once

#include "co_routine.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

// Runs f in a coroutine with hooks on, and the loop until all have ended.
inline void *call_function(void *f) {
    std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()> *>(f));
    co_enable_hook_sys();
    (*owned)();
    return nullptr;
}
inline stCoRoutine_t *go(std::function<void()> f, stShareStack_t *on = nullptr) {
    stCoRoutineAttr_t attr;
    attr.share_stack = on;
    attr.stack_size = 256 * 1024;
    stCoRoutine_t *co = nullptr;
    if (co_go(&co, &attr, call_function, new std::function<void()>(std::move(f))) != 0)
        abort();
    return co;
}
inline void in_coroutine(std::function<void()> f) {
    stCoRoutine_t *co = go(std::move(f));
    co_run();
    co_release(co);
}

class side {
  public:
    explicit side(bool coroutines) : coroutines_(coroutines) {}
    ~side() { join(); }
    side(const side &) = delete;
    side &operator=(const side &) = delete;

    template <class T> T says(const char *what, T result) {
        int e = errno;
        std::string line = std::string(what) + " = " + std::to_string(result);
        if (result == static_cast<T>(-1))
            line += std::string(" ") + strerrorname_np(e);
        lines_.push_back(line);
        errno = e;
        return result;
    }
    void text(const char *what, const void *bytes, long n) {
        lines_.push_back(std::string(what) + ": " +
                         std::string(static_cast<const char *>(bytes), n > 0 ? n : 0));
    }
    // Runs f, which must not end before `ms` are over: the class of its elapsed time. (That it does
    // not take much longer is not promised by anybody.)
    template <class F> void waited(const char *what, long ms, F f) {
        auto begin = std::chrono::steady_clock::now();
        f();
        auto us = std::chrono::duration_cast<std::chrono::microseconds>(
                      std::chrono::steady_clock::now() - begin)
                      .count();
        // CLOCK_REALTIME timeouts may be a little short of the monotonic clock's.
        lines_.push_back(std::string(what) + (us + 500 >= ms * 1000 ? " waited" : " came early"));
    }
    void partner(std::function<void(side &)> f) {
        partners_.push_back(std::make_unique<side>(coroutines_));
        side *p = partners_.back().get();
        if (coroutines_)
            running_.push_back(go([f, p] { f(*p); }));
        else
            threads_.emplace_back([f, p] { f(*p); });
    }
    void join() {
        for (std::thread &t : threads_)
            t.join();
        threads_.clear();
        for (stCoRoutine_t *co : running_) {
            co_join(co, nullptr);
            co_release(co);
        }
        running_.clear();
    }
    std::vector<std::string> trace() {
        join();
        std::vector<std::string> all = lines_;
        for (auto &p : partners_)
            for (std::string &line : p->trace())
                all.push_back("  | " + line);
        return all;
    }
    bool coroutines() const { return coroutines_; }

  private:
    bool coroutines_;
    std::vector<std::string> lines_;
    std::deque<std::unique_ptr<side>> partners_;
    std::vector<std::thread> threads_;
    std::vector<stCoRoutine_t *> running_;
};

struct both_traces {
    std::vector<std::string> native, ours;
};

inline std::vector<std::string> native_trace(const std::function<void(side &)> &body) {
    std::vector<std::string> trace;
    std::thread([&] {
        side s(false);
        body(s);
        trace = s.trace();
    }).join();
    return trace;
}

inline both_traces traces_of(const std::function<void(side &)> &body) {
    both_traces t;
    t.native = native_trace(body);
    in_coroutine([&] {
        side s(true);
        body(s);
        t.ours = s.trace();
    });
    return t;
}

// A line that differs on purpose; each one named must occur.
struct deliberate_difference {
    std::string native, ours, reason;
};

inline void expect_same_but(std::vector<deliberate_difference> differences,
                            const std::function<void(side &)> &body) {
    both_traces t = traces_of(body);
    for (const deliberate_difference &d : differences) {
        bool seen = false;
        for (size_t i = 0; i < t.native.size() && i < t.ours.size() && !seen; ++i)
            if (t.native[i] == d.native && t.ours[i] == d.ours) {
                seen = true;
                t.native[i] = t.ours[i] = "(" + d.reason + ")";
            }
        EXPECT_TRUE(seen) << "does not occur: " << d.native << " natively, " << d.ours
                          << " here: " << d.reason;
    }
    EXPECT_EQ(t.native, t.ours);
    EXPECT_FALSE(t.native.empty());
}

inline void expect_same(std::function<void(side &)> body) { expect_same_but({}, body); }
