// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/published.h"

#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/slots.h"
#include "co_hook/waist/worker.h"

#pragma GCC visibility push(hidden)
extern "C" {
extern const char __ehdr_start[], etext[], corun_slots[];
}
#pragma GCC visibility pop

using namespace corun::waist;

extern "C" __attribute__((visibility("default"), used)) constexpr published corun_published = {
    {'c', 'o', 'r', 'u', 'n', ' ', '1', '\0'},
    sizeof(published),
    layout_of_this_build(),
    &the_worker,
    __ehdr_start,
    etext,
    corun_slots,
    corun_slots + CORUN_SLOT_COUNT *CORUN_SLOT_BYTES,
    &waist_restorer};
