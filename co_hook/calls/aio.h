// SPDX-License-Identifier: Apache-2.0
// Waiting for asynchronous I/O: libaio's io_getevents, and io_uring's ring by its descriptor.
//
// What has no descriptor is looked at again, after an eighth of the time that has passed, at least
// 50 us and at most 20 ms. Nothing is taken that could get lost when the coroutine is cancelled.
#pragma once

#include "co_hook/calls/calls.h"

#include "co_routine/loop/park.h"

#include <cerrno>

namespace corun::calls {

// Parks until look() is not 0, or the time is up. The result: look's, -ETIMEDOUT, -ECANCELED.
template <class Look> word look_again(const wait_kind &kind, int64_t deadline_ns, Look look) {
    constexpr int64_t shortest_nap_ns = 50000, longest_nap_ns = 20 * ns_per_ms;
    int64_t begin = now_ns();
    for (;;) {
        if (word r = look())
            return r;
        int64_t now = now_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        int64_t nap = (now - begin) / 8;
        nap = nap < shortest_nap_ns ? shortest_nap_ns : nap > longest_nap_ns ? longest_nap_ns : nap;
        int64_t until = now + nap < deadline_ns ? now + nap : deadline_ns;
        int e = park(kind, {.object = nullptr}, until);
        if (e == -ECANCELED)
            return e;
    }
}

// io_getevents: at least `least` events, at most `most`, of 32 bytes each.
word getevents(void *context, long least, long most, void *events, int64_t deadline_ns);

// io_uring_enter(2), its six arguments.
word ring_enter(const word (&a)[6]);

} // namespace corun::calls
