// SPDX-License-Identifier: Apache-2.0
// From registers to return addresses: by libunwind where it is installed, else by frame pointers.
//
//     load_libunwind();                                  // once, where there is room: it mallocs
//     int n = walk_suspended(co->regs, {sp, high, where_its_bytes_are}, pcs, 32);
//
//     ucontext_t context;                                // the running one, from registers saved here
//     context_of_registers(&context, regs);
//     n = walk_frames(&context, {.stack = {low, high, low}}, pcs, 32);
//
// A walk allocates nothing and takes about 8 KiB of stack with libunwind. walk_frames may run in a
// signal handler once the library is loaded. While another thread forks, it follows frame pointers.
//
// A coroutine's walk ends before coroutine_entry: the last address lies in the user's own entry
// function. Only the first frame of a signal context has an exact pc; all others are return
// addresses, one instruction behind the call.
#pragma once

#include "co_routine/debug/remote_walk.h"

#include <cstdint>
#include <dlfcn.h>
#include <ucontext.h>

namespace corun {

// True when libunwind is there now. Tries once; says what to install when it is missing, unless told
// otherwise. Not from a signal handler, and not on a stack without room: dlopen allocates and is deep.
bool load_libunwind(bool say_if_missing = true);
inline constexpr char what_backtraces_need[] =
    "backtraces need libunwind.so.8, 1.6 or later (Debian: apt install libunwind8), and glibc "
    "2.35; without "
    "them they follow frame pointers, which code built without them does not keep";
// The same on a stack made for it, quietly: for whoever has no env (prepare_backtraces makes a coroutine), and
// does not know how much room there is.
void load_libunwind_elsewhere();
// f on that stack, for who has little left, or whose use of it is to be seen.
void call_on_stack(char *low, size_t bytes, void (*f)(void *argument), void *argument);
// Whether a first load_libunwind has ended, well or not.
bool libunwind_was_sought();
bool libunwind_loaded();

// What coctx_swap_regs has saved, in the form that walk_frames wants.
void context_of_registers(ucontext_t *out, void *const *regs);

// The live bytes of a stack: what belongs at [low, high) stands at bytes, which is low while they are in
// place. low == nullptr: not known, and memory is read as it is.
struct live_bytes {
    const char *low = nullptr, *high = nullptr, *bytes = nullptr;
};

struct walk_request {
    live_bytes stack = {};     // in place; frames outside end the walk
    void *first_pc = nullptr;  // what stands before this address is left out
    bool signal_frame = false; // the context is a signal handler's: its pc is exact
    // max + 1 of them: the stack pointer in each frame, which is where it begins, and behind them where the last
    // one ends. nullptr: not asked for.
    uintptr_t *sps = nullptr;
};

// Innermost first, at most max; returns how many.
int walk_frames(ucontext_t *context, const walk_request &request, void **pcs, int max);

// The same from what a suspended context saved, wherever the bytes of its stack are. Bad registers and
// bad frames end the walk: nothing is read but the stack's bytes, and what copy_from_user finds readable.
int walk_suspended(void *const *regs, const walk_request &request, void **pcs, int max);
#if defined(__x86_64__)
// The same for one that did not stop in a switch, with these registers.
int walk_registers(const kept_registers &registers, void **pcs, int max);
#endif
// Objects may have gone: what was learned of their code is forgotten. Before a row of walks.
void forget_code();

// The frames of the caller itself, from first_pc on, where libunwind is not to be trusted with them:
// on i386 its walk through a signal handler's frame goes astray and reads wild addresses (1.6.2,
// it crashed within a few thousand walks), while libgcc's _Unwind_Backtrace, which can only start where
// it is called, does not. 0: not here, or not found; use walk_frames.
int walk_own_frames(void *first_pc, void **pcs, int max);

// dladdr, unless co_hook/waist puts its own here: where threads are coroutines, one that is parked may
// hold the dynamic linker's lock.
extern int (*code_info)(const void *pc, Dl_info *info) __attribute__((visibility("hidden")));

// Names are those of the object's dynamic symbols, else of its symbol table.
// "#2 0x55d0c0de walk+0x1e (/usr/bin/prog+0x11e0)"; returns the length.
unsigned format_frame(char *out, unsigned size, int number, void *pc, bool exact_pc);

} // namespace corun
