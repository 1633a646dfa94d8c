// SPDX-License-Identifier: Apache-2.0
// Calls that would stop the thread are made by somebody else while the coroutine is parked.
//
//     offload_buffer out{buffer, n, false, true, true};
//     int64_t r = offload_syscall(kind, offload_shared, SYS_pread64, {fd, (long)buffer, n, at, 0, 0},
//                                 &out, 1, no_deadline);   // the result, or -errno
//
// Three kinds:
//  - offload_shared: calls that end by themselves (disk). 1 to 8 helper threads for the whole
//    process, grown on demand, ended when idle.
//  - offload_lookup: calls that end by themselves, but spend their time waiting for an answer from
//    the network (DNS, other name services): as shared, but up to 128 of them go on at once, and they
//    do not take turns with the disk's.
//  - offload_own: calls that wait for somebody else (flock, a FIFO's open). Each has a helper of its
//    own for as long as it lasts, so 64 of them never keep an fsync waiting.
// Where io_uring can do the call without a thread, loop/uring.h comes first.
//
// Rules
//  - No pointer into the caller's stack: what the helper reads or writes is bounce memory that
//    belongs to the job, and stays valid until the helper is done with it, also when the coroutine
//    was cancelled meanwhile. The owner copies, once it is back.
//  - Helpers block all signals, make only raw system calls or the function given, and are started
//    by the loop, never below a hook: pthread_create calls malloc.
//  - A coroutine that gives up (deadline, cancel, co_release) before a helper has begun takes the call
//    back: it is never made. One that is under way cannot be stopped: the helper ends it, and a call
//    that never returns keeps its helper. Either way on_late hears of the end, once.
//  - An own call whose wait_kind has subject_is_fd is given up with -EBADF when args[0] is closed.
//  - Before credentials change (setuid and the like) offload_end_helpers() must be called: glibc's
//    broadcast would reach them, but work begun under old credentials must not go on.
//  - fork waits, for 100 ms at most, until no helper is inside a function that needs libc. The child
//    has no helpers and no calls under way; its own start when needed.
#pragma once

#include "co_routine/loop/park.h"

namespace corun {

enum offload_kind : uint8_t { offload_shared, offload_own, offload_lookup };
inline constexpr int offload_kinds = 3;

// Bounce memory: copied in before the helper starts, copied out by the owner when it is back. It
// stands as the user's does within a page, so that O_DIRECT sees the alignment it asks for. Memory
// that is not the program's gives -EFAULT, as the kernel would.
struct offload_buffer {
    void *user = nullptr; // nullptr: the argument stays as it is
    size_t bytes = 0;
    bool in = false, out = false;
    bool counted = false; // out: no more than the call's result in bytes (read), else all of it
};

// What becomes of a call that nobody waits for any more: runs once for each that was given up, when
// it is certain that no helper is, or will be, inside it. result: the call's, or -ECANCELED when it
// was never made. May run on the helper, so only raw system calls and unpark. args: the call's.
using offload_late = void (*)(int64_t result, const long *args);
void close_late_result(int64_t result, const long *args); // for calls that return a descriptor

// For a cancel with CO_CANCEL_ERRNO of one whose call must be neither lost nor made twice, because it
// takes bytes or writes them: if co waits for a helper, whatever wakes it meanwhile, its wait goes on
// until the call has ended, and only the next one is cancelled. False: it waits for no helper.
bool cancel_after_offload(coroutine *co);

// The system call nr with these arguments. buffers[i].user takes the place of every argument that
// equals it. deadline_ns: when the wait is given up (-ETIMEDOUT; the call's result is dropped).
// Result of the call, or -errno; -ECANCELED; -ENOMEM; -EAGAIN: an own helper could not be started.
// (A shared call or a lookup is then made by the coroutine itself.) *given_up becomes true where the call was
// left to on_late; errors alone do not tell, because a call may bring -ECANCELED itself.
int64_t offload_syscall(const wait_kind &kind, offload_kind how, long nr, const long (&args)[6],
                        offload_buffer *buffers, int buffer_count, int64_t deadline_ns,
                        offload_late on_late = nullptr, bool *given_up = nullptr);

// f(argument) on a helper; argument points to bytes of bounce memory that hold a copy of *data, and
// *data receives them back. For calls that need libc (getaddrinfo). on_late finds the argument in
// args[0], late_argument in args[1]; it may free what f allocated.
int64_t offload_function(const wait_kind &kind, offload_kind how, int64_t (*f)(void *argument),
                         void *data, size_t bytes, int64_t deadline_ns,
                         offload_late on_late = nullptr, bool *given_up = nullptr,
                         long late_argument = 0);

// Ends all helpers and waits (on the thread, for 30 s at most) until none is inside a shared call;
// they come back when needed. Calls that wait for somebody else are not waited for, because the
// caller may be the one they wait for; their helpers end with them.
void offload_end_helpers();
size_t offload_helper_count();
bool offload_on_helper(); // is the calling thread one? Its calls are native ones

} // namespace corun
