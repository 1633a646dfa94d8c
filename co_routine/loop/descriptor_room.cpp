// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/descriptor_room.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/base/spinlock.h"

#include <csignal>
#include <sys/resource.h>

namespace corun {
namespace {

constexpr uint64_t usual = 1024, more = 64;
unsigned lock; // held while the limit is not the program's

// Each of the two may be nullptr. Both at once: nothing comes in between.
bool exchange(const void *now, void *former) {
    return !sys::failed(sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, now, former));
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork([] { spin_acquire(&lock); }, [] { spin_release(&lock); }, [] { spin_release(&lock); });
}

} // namespace

bool descriptor_room::is_needed_from_the_start() {
    limits now{};
    return exchange(nullptr, &now) && now.soft < usual;
}

descriptor_room::descriptor_room() {
    constexpr uint64_t all =
        ~uint64_t{0}; // a handler that forks would wait for the thread it stands on
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask_, sys::sigset_bytes);
    spin_acquire(&lock);
    exchange(nullptr, &former_);
    uint64_t wanted = former_.soft < usual ? usual : former_.soft + more;
    bool is_allowed = wanted <= former_.hard;
    is_raised_ =
        raise({wanted, is_allowed ? former_.hard : wanted}) ||
        (!is_allowed && former_.soft < former_.hard && raise({former_.hard, former_.hard}));
}

descriptor_room::~descriptor_room() {
    limits found{};
    if (is_raised_ && exchange(&former_, &found) && !(found == raised_))
        exchange(&found, nullptr);
    spin_release(&lock);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, sys::sigset_bytes);
}

bool descriptor_room::raise(const limits &to) {
    raised_ = to;
    return exchange(&to, &former_);
}

} // namespace corun
