// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signals.h"

#include <cerrno>

namespace corun::waist {

bool signal_call(thread *self, long nr, word (&a)[6], word *result) {
    if (nr == SYS_rt_sigprocmask) {
        uint64_t old = self->blocked;
        if (a[1]) {
            uint64_t set = *reinterpret_cast<uint64_t *>(a[1]);
            self->blocked = a[0] == 0 ? old | set : a[0] == 1 ? old & ~set : set;
        }
        if (a[2])
            *reinterpret_cast<uint64_t *>(a[2]) = old;
        return *result = 0, true;
    }
    return false;
}
void deliver_signals(thread *, frame *) {}

} // namespace corun::waist

extern "C" __attribute__((visibility("hidden"))) void waist_sigreturn(void *,
                                                                      corun::waist::thread *) {}
