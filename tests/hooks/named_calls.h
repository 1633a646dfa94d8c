// SPDX-License-Identifier: Apache-2.0
// Tables of calls under names that no other test uses: variants of those that are tested at length,
// declared by their own names, because headers lead some of them elsewhere. Each runs on a thread and
// in a coroutine.
#pragma once

#include "tests/hooks/both.h"

struct named_call {
    const char *name;
    void (*call)(side &);
};

inline void run_all(const named_call *calls, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        SCOPED_TRACE(calls[i].name);
        expect_same(calls[i].call);
    }
}
template <size_t N> inline void run_all(const named_call (&calls)[N]) { run_all(calls, N); }
