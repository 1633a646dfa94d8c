// SPDX-License-Identifier: Apache-2.0
// Finds an image's system calls, and for each the bytes around it that a jump may stand on. A jump
// takes five bytes, the instruction has two: whole instructions next to it are displaced into the
// slot. They may be, where
//   - the function's own unwind entry (else its symbol) says where decoding begins, and an instruction
//     begins at the syscall;
//   - they mean the same elsewhere: none is a call, a return or an indirect jump, none changes rsp;
//     a relative branch only as the last one;
//   - no branch leads into the middle of them: none of the function by its decoded instructions and
//     jump tables, none of the rest of the object by any bytes that would be one.
// What fails stays native, with its reason.
//
// "Behind, in front" are displaced bytes; most sites have `mov $number, %eax` in front. The address
// that identifies a site in signal frames and slots is the one behind the instruction.
#pragma once

#include "co_hook/waist/image.h"
#include "co_routine/base/raw_vector.h"

namespace corun::waist {

struct site {
    static constexpr int unknown = -1;

    uintptr_t address;  // of the syscall instruction
    int number;         // of the system call, where a constant is loaded for it
    uint8_t before;     // bytes displaced in front of it
    uint8_t after;      // and behind it
    bool plain;         // nothing is in vector registers at it: see find_sites
    const char *reason; // why it stays native; nullptr: it can be patched

    uintptr_t return_address() const { return address + 2; }
    uintptr_t window() const { return address - before; }
    uintptr_t window_end() const { return address + 2 + after; }
};

// Appends the image's sites, by address. A plain one stands in a function that others call by an exported
// name, so they expect it to clobber the vector registers (psABI 3.2.1), and that has no vector
// instruction itself. A function of the object's own may have callers in its translation unit that know
// better (GCC's -fipa-ra): of those only libc's are asked, where no caller near by has vector instructions,
// because every lock waits in one. 0 or -ENOMEM. open_decoder() has been called.
int find_sites(const image &img, raw_vector<site> *out);

// A system call that may wait for somebody else, or that a thread cannot make natively once threads
// are coroutines; unknown: true. Left native, such a site must be caught in another way.
bool must_be_seen(int number);

} // namespace corun::waist
