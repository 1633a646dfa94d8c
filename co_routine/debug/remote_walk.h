// SPDX-License-Identifier: Apache-2.0
// Walks with libunwind over registers and memory that are somewhere else: it asks for every word, and whoever
// walks has it. suspended_walk.cpp walks so over stacks of this process, `corun stack` over another one's.
//
//     struct mine : remote_view { ... };           // what one walk sees
//     if (walker.prepare() && walker.begin(&cursor, &mine))
//         ...walker.functions().step(&cursor)...
//
// Rules
//  - What cannot be read ends the walk. Nothing is believed: each address is asked of the view.
//  - A view may be asked without end, by unwind data that somebody has made up: it may stop answering.
#pragma once

#include "co_routine/debug/libunwind.h"

namespace corun {

// .eh_frame_hdr: version, three encodings, the address of .eh_frame, the count, and a table of pairs.
struct unwind_header {
    unsigned char version, encoding_of_frames, encoding_of_count, encoding_of_table;
    int32_t frames;
    uint32_t count;
};

// An object, and where that stands in it.
struct remote_code {
    libunwind::word low, high, header_at;
    unwind_header header;
};

struct remote_view {
    void *const *regs; // as a switch saves them
    bool (*read)(remote_view *view, libunwind::word at, libunwind::word *out);
    bool (*code_at)(remote_view *view, libunwind::word pc, remote_code *out);
};

class remote_walker {
  public:
    // Loads the library, which allocates. False: it is not there, or no memory.
    bool prepare();
    bool begin(libunwind::cursor *out, remote_view *view);
    void forget_code(); // objects may have gone
    const libunwind::functions_of_cursor &functions() const { return functions_; }

  private:
    libunwind::functions_elsewhere functions_{};
    libunwind::address_space *space_ = nullptr;
};

// The registers of a suspended stack, as a switch saves them, for who has only a copy.
struct switch_registers {
    alignas(64) void *values[COCTX_LIVE_REGS];

    libunwind::word sp() const { return reinterpret_cast<libunwind::word>(coctx_sp(values)); }
    libunwind::word pc() const { return reinterpret_cast<libunwind::word>(coctx_pc(values)); }
    libunwind::word fp() const { return reinterpret_cast<libunwind::word>(coctx_fp(values)); }
};
switch_registers registers_of(void *const *saved);
#if defined(__x86_64__)
// Of one that did not stop in a switch: those that a call keeps.
struct kept_registers {
    uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};
switch_registers registers_of(const kept_registers &from);
#endif

} // namespace corun
