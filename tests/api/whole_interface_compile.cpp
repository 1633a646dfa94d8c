// SPDX-License-Identifier: Apache-2.0
// Compiled, not run, in every C++ that the headers promise.
#include <co_closure.h>
#include <co_comm.h>
#include <co_hook.h>
#include <co_routine.h>
#include <co_routine.hpp>
#include <co_routine_inner.h>
#include <co_routine_specific.h>

#include <memory>
#include <string>

struct request {
    int id;
    char user[16];
};
CO_ROUTINE_SPECIFIC(request, current)
CO_ROUTINE_SPECIFIC(request, former);

static void *routine(void *arg) {
    current->id = former->id + 1;
    (*current).user[0] = former.get()->user[0];
    stCoRoutine_t *self = co_self();
#if defined(__cpp_impl_coroutine) || __cplusplus > 201703L
    co_yield_to_resumer(self); // co_yield is a keyword here
#else
    co_yield(self);
#endif
    return arg;
}

int closures();
int closures() {
    int a = 1;
    const int b = 2;
    std::string text = "t";
    co_ref(all, a, b, text);
    co_ref(nothing);
    co_func(job, all, a, text) {
        all.a += a;
        all.text += text;
    }
    co_func_end;
    co_func(idle) {}
    co_func_end;
    std::unique_ptr<stCoClosure_t> one(new job(all, a, text)), two(new idle());
    one->exec();
    two->exec();
    return a;
}

int objects();
int objects() {
    clsCoMutex old_mutex;
    clsSmartLock old_lock(&old_mutex);
    co::shared_stacks stacks(4, 64 * 1024), moved(std::move(stacks));
    stCoRoutineAttr_t attr;
    attr.share_stack = moved.native_handle();
    co_go(nullptr, &attr, routine, nullptr);
    co::join_handle<std::string> h = co::go([] { return std::string("x"); }, co::name("n"), moved);
    co::join_handle<void> v = co::go([] {}, co::stack_size(65536), co::guard_size(-1));
    v = co::go(closures, attr).joinable() ? std::move(v) : co::join_handle<void>();
    v.cancel();
    v.detach();

    co::mutex m;
    co::shared_mutex rw;
    co::cond c;
    std::unique_lock<co::mutex> lock(m);
    c.wait_for(lock, std::chrono::seconds(1), [] { return true; });
    c.wait(lock, [] { return true; });
    lock.unlock();
    std::lock_guard<co::shared_mutex> guard(rw);

    co::semaphore s(1);
    co::wait_group wg;
    co::channel<std::unique_ptr<int>> moving(1);
    co::channel<double> plain;
    moving.try_send(std::unique_ptr<int>(new int(1)));
    for (std::unique_ptr<int> &p : moving)
        plain.send_for(*p, std::chrono::milliseconds(1));
    co::sleep_for(std::chrono::hours(1));
    co::yield();
    co::run();
    return static_cast<int>(h.join().size() + plain.size());
}
