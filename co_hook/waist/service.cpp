// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/service.h"

#include "co_hook/waist/worker.h"

#include "co_routine/loop/inbox.h"
#include "co_routine/loop/park.h"

#include <sys/mman.h>

namespace corun::waist {

bool service::start(worker *w, pfn_co_routine_t main, size_t bytes) {
    if (!stack_) {
        sys::word r = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, 0);
        if (sys::failed(r))
            return false;
        stack_ = reinterpret_cast<char *>(r);
    }
    co_ = create_elsewhere(w->env, stack_, stack_ + bytes, main, nullptr);
    if (!co_)
        return false;
    count_as_started(w->env, co_);
    w->env->make_ready(co_);
    return true;
}

void pause_until(int64_t deadline_ns) {
    static constexpr wait_kind kind{"its time", false, nullptr, nullptr, ended_by::runtime};
    while (park(kind, {}, deadline_ns) == 0) {
    }
}

void service::wake() {
    if (co_)
        inbox_post(co_, pending_unpark);
}

} // namespace corun::waist
