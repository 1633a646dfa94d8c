// SPDX-License-Identifier: Apache-2.0
// Reading and writing what is no socket: one description of the call, three ways to make it.
//
//   pipes, eventfd and the like   a try with RWF_NOWAIT, then a wait for the descriptor
//   where RWF_NOWAIT is refused   poll says that it is ready, then the call: inline when nobody else
//                                 can drain the object, else on a helper of its own
//   files                         what would wait for the disk or a server goes to a helper
#pragma once

#include "co_hook/calls/wait.h"

#include <cerrno>

namespace corun::calls {

inline constexpr int64_t current_position = -1;

struct transfer {
    const wait_kind &kind;
    int fd;
    fd_direction d;
    const iovec *parts;
    int count;
    int64_t offset; // or current_position
    int flags;      // RWF_*
};

// The call as the kernel makes it, with these flags added.
word make_call(const transfer &t, int extra_flags);
// preadv2 or pwritev2 of these parts.
word vector_call(const transfer &t, const iovec *parts, int count, int64_t offset, int flags);
inline bool refuses_nowait(word r) { return r == -EOPNOTSUPP || r == -ENOSYS; }
// In a coroutine; bits: of the descriptor, which is a kind_file (file_transfer.cpp).
word transfer_file(const transfer &t, uint32_t bits);
// In a coroutine; bits: of the descriptor, which is no socket.
word run_transfer(const transfer &t, uint32_t bits);
// In a coroutine, for any descriptor: readv, preadv2 and their kin.
word vectored(const transfer &t);
// write() ends a record; send() only does when asked to.
inline int record_flag(uint32_t bits) { return kind_of(bits) == kind_seqpacket ? MSG_EOR : 0; }

// file_turn.cpp: calls that use the file position take turns, so that those behind an offloaded one
// neither overtake it nor block the thread on the kernel's lock. 0, or -ECANCELED, -ENOMEM.
// A turn belongs to the call, not to the coroutine: it lasts until no helper reads for it any more,
// so end_turn may come from a helper.
int take_turn(int fd);
void end_turn(int fd);
bool turn_is_taken(int fd);
// Calls that a helper makes by this number without the file position: any number at a time, but the
// number is not closed before they are over. 0 or -ENOMEM. end_use may come from a helper.
int begin_use(int fd);
void end_use(int fd);
void forget_turns_after_fork();

} // namespace corun::calls
