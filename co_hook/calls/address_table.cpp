// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/address_table.h"

#include "co_routine/base/at_fork.h"

namespace corun::calls {

constinit bool all_wait_and_wake_on_one_thread = false;
bucket buckets[1U << bucket_bits];
constinit thread_local thread_state tls_state;

namespace {

// Locks may be held, and lists be half changed, by threads that the child does not have.
void forget_waiters_after_fork() {
    for (bucket &b : buckets)
        if (b.waiters != 0 || b.lock != 0 || b.first || b.last)
            b = {};
    tls_state = {};
    co_env *env = env_or_null();
    if (!env)
        return;
    coroutine *root = &env->root;
    if (root->waiting && root->waiting->abandon == abandon_address_wait) {
        root->wait_link = {};
        set_slot(root, slot_of(root) | slot_woken); // the loop makes it look again
    }
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(nullptr, nullptr, forget_waiters_after_fork);
}

} // namespace
} // namespace corun::calls
