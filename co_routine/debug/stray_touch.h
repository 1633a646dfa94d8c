// SPDX-License-Identifier: Apache-2.0
// CORUN_DEBUG=stacks: a touch of a stack that is out. Said are who touched it, whose it is, both backtraces, and in
// which frame of the owner the address lies:
//
//     corun: coroutine 'guest' (#2): touched 0x7f.. on the stack of coroutine 'owner' (#1), which is out (...
//     corun:   #0 0x55.. use_it+0x9 (/usr/bin/prog+0x11e0)
//     corun:   the stack of coroutine 'owner' (#1); 0x7f.. is in frame #1, serve+0x41, 24 bytes above its ...
//     corun:   #0 0x55.. co_yield_ct+0x1e (...)
//
// With CO_DEBUG_PRIVATE that is said once for each entry function, and the touch succeeds: the range is the owner's
// alone, so its bytes are there, and it stays accessible.
//
// Rules
//  - In the fault handler: nothing is allocated but by mmap, and no lock is taken but those of dladdr and of libunwind's cache.
//  - The owner may be another thread's, which goes on meanwhile: what is its own is copied out by the kernel.
#pragma once

#include "co_routine/core/own_range.h"

namespace corun {

class stray_touch {
  public:
    bool find(uintptr_t address); // false: no touch of a stack that is out
    bool let_through();           // false: not asked for, or not possible
    bool is_news() const { return caught_ != catch_result::again; }

    void say() const;         // the line
    void write_owner() const; // the owner's frames; where there is room for a walk

  private:
    uintptr_t address_ = 0;
    own_range *range_ = nullptr;
    const coroutine *owner_ = nullptr;
    pfn_co_routine_t entry_ = nullptr;
    bool is_foreign_ = false, goes_on_ = false; // is_foreign: another thread's
    catch_result caught_ = catch_result::first;
    char whose_[description_bytes + 32] = "";
};

} // namespace corun
