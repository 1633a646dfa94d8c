// SPDX-License-Identifier: Apache-2.0
// May a call on this file wait, and for what? A hand-over to a helper costs about ten times what a
// cached open or stat costs, so calls that cannot wait are made in place.
//
//     path_look look;
//     if (int e = look_at(kind, dirfd, path, true, &look)) return e;
//     if (!look.slow) ...make the call; what it needs is in the cache...
//
// How it is known
//  - openat2 with RESOLVE_CACHED says EAGAIN where a lookup would leave the directory cache; a helper
//    then makes the lookup, which fills the cache.
//  - What is found there may still have to ask a server (FUSE, network): the file system tells, by
//    its type. Types are remembered by device number for 10 s, because numbers are used again.
//  - None of it changes a call's meaning: wrong knowledge costs time, no more.
#pragma once

#include "co_hook/calls/wait.h"

namespace corun::calls {

struct path_look {
    int error = 0;     // of the lookup: -errno; 0: it is there
    uint32_t type = 0; // S_IFREG ...; 0: not known
    uint32_t device_major = 0;
    bool slow = false;        // a call on it may wait
    bool lookup_slow = false; // the lookup was not known to the cache
};

// In a coroutine. 0, or -ECANCELED, -ENOMEM. follow: the last name, if it is a symbolic link.
int look_at(const wait_kind &kind, int dirfd, const char *path, bool follow, path_look *out);

// The speed of a file that is open, asked once for each. kind_file only. bits: the descriptor's.
// -ECANCELED.
int learn_speed(const wait_kind &kind, int fd, uint32_t bits, file_speed *speed);

// The length of the program's string with its 0: at most PATH_MAX; -EFAULT, -ENAMETOOLONG.
int path_bytes(const char *path);

} // namespace corun::calls
