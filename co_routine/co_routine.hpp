// SPDX-License-Identifier: Apache-2.0
/*
 * co_routine.hpp - corun for C++11 and later: the C interface with objects. Header only.
 *
 *     #include <co_routine.hpp>
 *
 *     int main() {
 *         co::channel<std::string> words(8);
 *         co::go([&] {
 *             for (const char *w : {"blocking", "code", "as", "coroutines"})
 *                 words.send(w);
 *             words.close();
 *         });
 *         auto count = co::go([&] {
 *             int n = 0;
 *             for (std::string &word : words)
 *                 std::cout << word << '\n', ++n;
 *             return n;
 *         });
 *         return count.join() == 4 ? 0 : 1;
 *     }
 *
 * Rules
 *  - A coroutine belongs to the thread that created it. Locks, semaphores, wait groups, conditions
 *    and channels serve coroutines (and plain threads) of several threads.
 *  - Functions marked [waits] let other coroutines run. Outside a coroutine they run the loop.
 *  - Errors are std::system_error with an errno value; time limits are results, not errors.
 *  - Cancelling a coroutine unwinds it: destructors run, and a catch (...) must rethrow. A wait in a
 *    destructor or a noexcept function is where that cannot work (see co_cancel_mode).
 *  - Put the objects anywhere but on a shared stack. They must outlive their waiters; one that is
 *    destroyed while somebody waits in it ends the process. Handles and guards may stand anywhere.
 *  - Durations are rounded up to whole milliseconds; a negative one is zero.
 */
#ifndef CORUN_CO_ROUTINE_HPP
#define CORUN_CO_ROUTINE_HPP

#include "co_routine.h"

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace co {

namespace detail {

inline void check(int error, const char *what) {
    if (error != 0)
        throw std::system_error(error, std::generic_category(), what);
}

// True: done. False: not now, or not in time. Anything else is thrown.
inline bool tried(int error, const char *what) {
    if (error == EBUSY || error == EAGAIN || error == ETIMEDOUT)
        return false;
    check(error, what);
    return true;
}

// For destructors, which have nobody to tell.
inline void check_destroyed(int error, const char *what) {
    if (error != 0) {
        co_log_err("corun: %s destroyed while it is in use", what);
        std::abort();
    }
}

template <class Rep, class Period> long ms_of(const std::chrono::duration<Rep, Period> &d) {
    using std::chrono::milliseconds;
    if (d <= d.zero())
        return 0;
    if (std::chrono::duration<double>(d).count() >= static_cast<double>(LONG_MAX / 1000))
        return LONG_MAX;
    auto ms = std::chrono::duration_cast<milliseconds>(d).count();
    return static_cast<long>(milliseconds(ms) < d ? ms + 1 : ms);
}

} // namespace detail

/* ---- This coroutine -------------------------------------------------------------------------- */

/* [waits] To the back of the ready queue: every coroutine that is ready runs first. */
inline void yield() { co_yield_now(); }

/* The clock that deadlines here are measured by. */
inline std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

/* [waits] until then, by that clock. ECANCELED (only with CO_CANCEL_ERRNO). */
template <class Clock, class Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration> &when) {
    for (auto left = when - Clock::now(); left > left.zero(); left = when - Clock::now())
        detail::check(co_sleep_ms(detail::ms_of(left)), "co::sleep");
}

/* [waits] at least that long. */
template <class Rep, class Period> void sleep_for(const std::chrono::duration<Rep, Period> &d) {
    long ms = detail::ms_of(d);
    if (ms == LONG_MAX) // a long of 32 bits ends after 24 days
        sleep_until(now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(d));
    else
        detail::check(co_sleep_ms(ms), "co::sleep_for");
}

/* Runs the loop until every coroutine of this thread has ended. */
inline void run() { co_run(); }

/* ---- How a coroutine is made: arguments of co::go after the callable --------------------------- */

/* For reports; copied. A name for which there is no memory is dropped. */
struct name {
    const char *text;
    explicit name(const char *t) : text(t) {}
};

/* Bytes, as in stCoRoutineAttr_t. */
struct stack_size {
    int bytes;
    explicit stack_size(int b) : bytes(b) {}
};
struct guard_size {
    int bytes;
    explicit guard_size(int b) : bytes(b) {}
};

/* count stacks of size bytes each, on which coroutines of the creating thread take turns. Must outlive
 * these coroutines, and is destroyed on that thread. */
class shared_stacks {
  public:
    shared_stacks(int count, int size) : stacks_(co_alloc_sharestack(count, size)) {
        if (!stacks_)
            detail::check(errno, "co::shared_stacks");
    }
    ~shared_stacks() {
        if (stacks_)
            detail::check_destroyed(co_release_sharestack(stacks_), "co::shared_stacks");
    }
    shared_stacks(shared_stacks &&other) noexcept : stacks_(other.stacks_) {
        other.stacks_ = nullptr;
    }
    shared_stacks &operator=(shared_stacks &&other) noexcept {
        std::swap(stacks_, other.stacks_);
        return *this;
    }
    stShareStack_t *native_handle() const { return stacks_; }

  private:
    stShareStack_t *stacks_;
};

/* ---- go and join ----------------------------------------------------------------------------- */

namespace detail {

struct how {
    stCoRoutineAttr_t attr;
    const char *name = nullptr;
    void add(const co::name &n) { name = n.text; }
    void add(const co::stack_size &s) { attr.stack_size = s.bytes; }
    void add(const co::guard_size &g) { attr.guard_size = g.bytes; }
    void add(const co::shared_stacks &s) { attr.share_stack = s.native_handle(); }
    void add(const stCoRoutineAttr_t &a) { attr = a; }
};

// What the coroutine and its handle share. On the heap, so that the stack may be a shared one.
struct task {
    stCoRoutine_t *co = nullptr;
    std::exception_ptr thrown;
    bool left = false; // the callable has returned, or was unwound
    virtual ~task() {}
    virtual void call() = 0;

    static void *entry(void *self) {
        task *t = static_cast<task *>(self);
        struct at_end {
            task *t;
            ~at_end() { t->left = true; }
        } mark = {t};
        try {
            t->call();
        } catch (...) {
            t->thrown = std::current_exception();
            if (!t->thrown) // not an exception but a cancel on its way
                throw;
        }
        return nullptr;
    }

    // On a coroutine of its own: waits for the one that nobody will join, and frees what it had.
    static void *reap(void *self) {
        std::unique_ptr<task> t(static_cast<task *>(self));
        co_cancel_mode(CO_CANCEL_ERRNO);
        if (co_join(t->co, nullptr) == 0)
            co_release(t->co);
        else
            t.release();
        return nullptr;
    }
};

template <class T> struct result {
    typename std::aligned_storage<sizeof(T), alignof(T)>::type bytes;
    bool present = false;
    T *at() { return reinterpret_cast<T *>(&bytes); }
    template <class F> void set(F &f) {
        new (&bytes) T(f());
        present = true;
    }
    T take() { return std::move(*at()); }
    ~result() {
        if (present)
            at()->~T();
    }
};
template <> struct result<void> {
    bool present = false;
    template <class F> void set(F &f) {
        f();
        present = true;
    }
    void take() {}
};

template <class T> struct task_of : task { result<T> value; };

template <class T, class F> struct task_calling : task_of<T> {
    std::unique_ptr<F> callable;
    template <class G> explicit task_calling(G &&g) : callable(new F(std::forward<G>(g))) {}
    void call() override {
        std::unique_ptr<F> own(std::move(callable)); // its captures end with the call
        this->value.set(*own);
    }
};

} // namespace detail

/* The right to wait for a coroutine and to have its result. Moved, not copied. All of it on the
 * coroutine's thread, but for cancel. Dropping a handle detaches: nothing is cancelled or waited for,
 * so what the callable refers to must outlive it. */
template <class T> class join_handle {
  public:
    join_handle() noexcept {}
    explicit join_handle(std::unique_ptr<detail::task_of<T>> task) : task_(std::move(task)) {}
    join_handle(join_handle &&other) noexcept : task_(std::move(other.task_)) {}
    join_handle &operator=(join_handle &&other) noexcept {
        detach();
        task_ = std::move(other.task_);
        return *this;
    }
    ~join_handle() { detach(); }

    /* True while there is something to join. */
    bool joinable() const noexcept { return task_ != nullptr; }

    /* [waits] until it has ended. Returns what the callable returned, or throws what it threw.
     * ECANCELED: it was cancelled (then joinable() is false), or the caller was. EDEADLK: it is the
     * caller. EINVAL: nothing to join. */
    T join() {
        detail::check(task_ ? 0 : EINVAL, "co::join_handle::join");
        detail::check(co_join(task_->co, nullptr), "co::join_handle::join");
        std::unique_ptr<detail::task_of<T>> task(std::move(task_));
        co_release(task->co);
        if (task->thrown)
            std::rethrow_exception(task->thrown);
        detail::check(task->value.present ? 0 : ECANCELED, "co::join_handle::join");
        return task->value.take();
    }

    /* Asks it to end, from any thread. False: it has ended, or there is nothing to join. */
    bool cancel() { return task_ && co_cancel(task_->co) == 0; }

    /* Lets it run on by itself. What it returns or throws is dropped. */
    void detach() noexcept {
        if (!task_)
            return;
        // Past the callable, a cancel has no effect but to say whether it has ended.
        if (task_->left && co_cancel(task_->co) == ESRCH) {
            co_release(task_->co);
            task_.reset();
            return;
        }
        stCoRoutineAttr_t small;
        small.stack_size = 32 * 1024;
        if (co_go(nullptr, &small, detail::task::reap, task_.get()) != 0)
            co_log_err("corun: co::join_handle: no memory to detach; the coroutine is kept");
        task_.release();
    }

    /* For the C interface; the handle keeps it. */
    stCoRoutine_t *native_handle() const { return task_ ? task_->co : nullptr; }

  private:
    std::unique_ptr<detail::task_of<T>> task_;
};

/* A coroutine that calls f() in the loop of this thread. Options, in any order: co::name,
 * co::stack_size, co::guard_size, a co::shared_stacks, or a stCoRoutineAttr_t.
 * f is copied or moved to the heap and destroyed when the call ends. EINVAL, ENOMEM as co_go. */
template <class F, class... Options>
auto go(F &&f, const Options &...options) -> join_handle<
    typename std::decay<decltype(std::declval<typename std::decay<F>::type &>()())>::type> {
    typedef typename std::decay<F>::type callable;
    typedef typename std::decay<decltype(std::declval<callable &>()())>::type value;
    detail::how how;
    int in_order[] = {0, (how.add(options), 0)...};
    (void)in_order;
    std::unique_ptr<detail::task_of<value>> task(
        new detail::task_calling<value, callable>(std::forward<F>(f)));
    detail::task *shared = task.get();
    detail::check(co_go(&task->co, &how.attr, detail::task::entry, shared), "co::go");
    if (how.name)
        co_set_name(task->co, how.name);
    return join_handle<value>(std::move(task));
}

} // namespace co

#include "co_routine_sync.hpp" // locks, conditions, channels

#endif
