// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/at_fork.h"

#include "co_routine/base/check.h"
#include "co_routine/base/spinlock.h"

#include <pthread.h>

namespace corun {
namespace {

constexpr unsigned most_handlers = 16; // each is a line of this library
struct {
    void (*before)();
    void (*in_parent)();
    void (*in_child)();
} handlers[most_handlers];
unsigned count, lock;
bool taken_over;

template <void (*run)()> void unless_taken_over() {
    if (!taken_over)
        run();
}

} // namespace

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
    bool first;
    {
        spin_guard guard(&lock);
        CO_CHECK(count < most_handlers, "too many fork handlers: raise most_handlers");
        first = count == 0;
        handlers[count] = {before, in_parent, in_child};
        __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
    }
    if (first)
        pthread_atfork(unless_taken_over<run_before_fork>,
                       unless_taken_over<run_after_fork_in_parent>,
                       unless_taken_over<run_after_fork_in_child>);
}

void fork_handlers_are_mine() { taken_over = true; }

void run_before_fork() {
    for (unsigned i = __atomic_load_n(&count, __ATOMIC_ACQUIRE); i-- > 0;)
        if (handlers[i].before)
            handlers[i].before();
}

void run_after_fork_in_parent() {
    for (unsigned i = 0; i < __atomic_load_n(&count, __ATOMIC_ACQUIRE); ++i)
        if (handlers[i].in_parent)
            handlers[i].in_parent();
}

void run_after_fork_in_child() {
    lock = 0;
    for (unsigned i = 0; i < count; ++i)
        if (handlers[i].in_child)
            handlers[i].in_child();
}

} // namespace corun
