// SPDX-License-Identifier: Apache-2.0
// One pass over an image, before anything is decoded: where the bytes of a syscall instruction stand,
// and what might be a branch into their neighbourhood from anywhere in the object. Byte by byte, so
// that nothing depends on where instructions begin: it finds too much rather than too little.
#pragma once

#include "co_hook/waist/image.h"
#include "co_routine/base/raw_vector.h"

namespace corun::waist {

constexpr unsigned syscall_bytes = 2; // 0f 05

struct code_scan {
    raw_vector<uintptr_t> syscalls; // ascending; in data and inside other instructions too
    raw_vector<uintptr_t> targets;  // ascending; of rel32 branches, and words that point there

    // Some branch or pointer leads to an address in [start, end).
    bool is_target(uintptr_t start, uintptr_t end) const;
};

// 0 or -ENOMEM.
int scan_image(const image &img, code_scan *out);

// The first place in [from, to) where a rel8 branch into [start, end) would begin, whether or not an
// instruction does; 0: none.
uintptr_t short_branch_into(uintptr_t from, uintptr_t to, uintptr_t start, uintptr_t end);

} // namespace corun::waist
