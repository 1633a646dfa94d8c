// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/published.h"

#include "co_hook/waist/worker.h"

using namespace corun::waist;

extern "C" __attribute__((visibility("default"), used)) constexpr published corun_published = {
    {'c', 'o', 'r', 'u', 'n', ' ', '1', '\0'},
    sizeof(published),
    layout_of_this_build(),
    &the_worker};
