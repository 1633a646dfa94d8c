// SPDX-License-Identifier: Apache-2.0
// Which system calls are ours. entry.S looks every number up in waist_table: what is not ours goes to
// the kernel at once.
#pragma once

#include "co_hook/waist/frame.h"

namespace corun::waist {

// Younger than some kernel headers.
inline constexpr short nr_futex_waitv = 449, nr_futex_wake = 454, nr_futex_wait = 455,
                       nr_futex_requeue = 456;

void claim_first_numbers(); // for a process of one thread: what makes a second one
void claim_all_numbers();
void claim_numbers_of_stats(bool at_end); // of one thread too: actions of signals, and the end

} // namespace corun::waist
