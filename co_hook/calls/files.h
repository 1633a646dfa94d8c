// SPDX-License-Identifier: Apache-2.0
// Files and their names. Calls that may wait for a disk or a server are made by a helper; those that
// are answered from the caches are made in place (calls/file_speed.h says which).
//
//     static constexpr wait_kind kind{"rename", false, nullptr};
//     word r = by_helper({.kind = kind, .nr = SYS_rename, .args = {from, to}, .path = 0, .second_path = 1});
//
//   by_helper      always          by_path, by_descriptor   unless it is near: in place
//
// Rules
//  - What changes a directory or a file's length waits for the file system's journal even when all of
//    it is cached, so it always goes to a helper.
//  - open of a FIFO or a terminal waits for somebody else: a helper of its own. A descriptor that
//    comes when nobody waits for it any more is closed.
//  - A call by descriptor keeps the number from being closed until no helper is inside.
//  - The file creation mask, the working directory and credentials are the process's, so a helper has
//    the caller's; threads that have unshared theirs (CLONE_FS) must not use the coroutine calls.
//  - EFBIG is found by the call made once more in place: SIGXFSZ belongs to the caller's thread. So is
//    EPIPE of a call on two descriptors, for SIGPIPE.
#pragma once

#include "co_hook/calls/file_speed.h"
#include "co_routine/loop/offload.h"

namespace corun::calls {

struct file_call {
    const wait_kind &kind;
    long nr;
    long args[6] = {};
    int path = -1, second_path = -1; // which arguments are strings
    int in = -1;                     // memory that the call reads, and how much
    size_t in_bytes = 0;
    int out = -1; // memory that it writes
    size_t out_bytes = 0;
    bool counted = false; // out: as much as the result says
    bool by_fd = false;   // args[0] is a descriptor, which must stay
    int dirfd = -100;     // for by_path, which looks at args[path] (AT_FDCWD)
    bool follow = true;
    int second_fd = -1;                  // with by_fd: which argument is another one that must stay
    int offset = -1, second_offset = -1; // 64-bit positions, which it reads and writes
};

word in_place(const file_call &call);
// The call as it is, by a helper, or by one of its own.
word by_helper(const file_call &call, offload_kind how = offload_shared,
               offload_late on_late = nullptr);
// In place if what it looks for is cached and near.
word by_path(const file_call &call);
// In place unless the file is far away.
word by_descriptor(const file_call &call);

// flags as the kernel has them.
word openat(int dirfd, const char *path, int flags, unsigned mode);
// In a coroutine: libc is about to ask for the descriptor's file what may have to be fetched.
// 0 near, 1 far, -ECANCELED.
int is_far(const wait_kind &kind, int fd);

} // namespace corun::calls
