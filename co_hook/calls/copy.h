// SPDX-License-Identifier: Apache-2.0
// Copies between descriptors inside the kernel.
//
//   splice, tee, vmsplice   pipes take SPLICE_F_NONBLOCK, so they are tried and then waited for, on the
//                           side that is not ready
//   files                   on a helper: the disk may be slow; the pipe end still never blocks
//   sendfile to a socket    no flag makes it non-blocking and O_NONBLOCK is not ours to set: what is
//                           read from the file (from the cache, or by a helper) is sent as send does
//   splice into a socket    the same reason: on a helper of its own, once the socket has room
//   copy_file_range         on a helper
//
// Results are partial where the kernel's are. Offsets are written back by the caller itself.
#pragma once

#include "co_hook/calls/calls.h"

namespace corun::calls {

word sendfile(int out, int in, int64_t *offset, size_t count);
word splice(int in, int64_t *in_offset, int out, int64_t *out_offset, size_t n, unsigned flags);
word tee(int in, int out, size_t n, unsigned flags);
word vmsplice(int pipe, const iovec *parts, unsigned long count, unsigned flags);
word copy_file_range(int in, int64_t *in_offset, int out, int64_t *out_offset, size_t n,
                     unsigned flags);

} // namespace corun::calls
