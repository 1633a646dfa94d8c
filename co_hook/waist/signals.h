// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

bool signal_call(thread *self, long nr, word (&a)[6], word *result);
void deliver_signals(thread *self, frame *f);

} // namespace corun::waist
