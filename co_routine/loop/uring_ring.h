// SPDX-License-Identifier: Apache-2.0
// The two rings that io_uring shares with the kernel, by raw system calls. It knows nothing of
// coroutines: loop/uring.cpp does.
//
// Rules
//  - One thread uses a ring: the one that opened it. It is told to the kernel (SINGLE_ISSUER), which
//    then needs no locks.
//  - Each request goes to the kernel at once, so the submission ring is never full; completions that
//    do not fit are kept by the kernel (NODROP) and fetched by ring_flush.
//  - A forked child does not have the memory of the rings (DONTFORK) and closes the descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <linux/io_uring.h>

namespace corun {

struct uring_ring {
    int fd = -1;
    void *rings = nullptr; // both, in one mapping
    io_uring_sqe *sqes = nullptr;
    size_t rings_bytes = 0, sqes_bytes = 0;

    unsigned *sq_tail = nullptr, *sq_flags = nullptr;
    unsigned sq_mask = 0;
    unsigned *cq_head = nullptr, *cq_tail = nullptr;
    unsigned cq_mask = 0;
    io_uring_cqe *cqes = nullptr;
    uint64_t supported = 0; // a bit for each of the first 64 opcodes
};

// 0; -ENOSYS: there is no io_uring here, and there will be none; another -errno: not now.
int ring_open(uring_ring *ring);
void ring_close(uring_ring *ring); // fd may have been moved meanwhile: ring->fd is the one
void ring_close_in_child(uring_ring *ring);

inline bool ring_supports(const uring_ring *ring, uint8_t opcode) {
    return opcode < 64 && (ring->supported >> opcode & 1) != 0;
}

// Gives one request to the kernel: 0, or -errno and it was not taken (-EBUSY: too many completions
// wait; flush and take them first).
int ring_submit(uring_ring *ring, const io_uring_sqe &request);

// Lets the kernel finish what it can at once, and fetches completions that did not fit.
void ring_flush(uring_ring *ring);
// The same, but waits for at least one completion, or about so many milliseconds.
void ring_wait(uring_ring *ring, int ms);
// Are there completions that did not fit?
bool ring_overflowed(const uring_ring *ring);

// The next completion; false: there is none.
bool ring_next(uring_ring *ring, uint64_t *user_data, int32_t *result);

// Tests: ring_open says -ENOSYS.
extern bool ring_pretend_missing __attribute__((visibility("hidden")));

} // namespace corun
