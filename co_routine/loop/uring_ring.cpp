// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/uring_ring.h"

#include "co_routine/base/raw_sys.h"

#include <cerrno>
#include <poll.h>
#include <sys/mman.h>

namespace corun {

bool ring_pretend_missing;

namespace {

constexpr unsigned submission_entries = 64;
constexpr unsigned completion_entries = 512; // what does not fit waits in the kernel
constexpr unsigned needed_features = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP;
// Names that older headers lack.
constexpr unsigned setup_coop_taskrun = 1U << 8;
constexpr unsigned setup_single_issuer = 1U << 12;
// Beyond these the fds and bits of the interface do not change: the newest first.
constexpr unsigned setup_attempts[] = {setup_coop_taskrun | setup_single_issuer, setup_coop_taskrun,
                                       0};

sys::word set_up(io_uring_params *params) {
    sys::word fd = -EINVAL;
    for (unsigned flags : setup_attempts) {
        *params = {};
        params->flags = flags | IORING_SETUP_CQSIZE;
        params->cq_entries = completion_entries;
        fd = sys::call(SYS_io_uring_setup, submission_entries, params);
        if (fd != -EINVAL)
            break;
    }
    return fd;
}

// Forbidden or not there; anything else may pass (EMFILE, ENOMEM).
bool is_for_ever(sys::word error) {
    return error == -ENOSYS || error == -EPERM || error == -EACCES || error == -EINVAL;
}

void *map_ring(int fd, size_t bytes, uint64_t offset) {
    long in_unit = static_cast<long>(sys::nr_mmap == SYS_mmap ? offset : offset / 4096);
    sys::word r = sys::call(sys::nr_mmap, 0L, bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_POPULATE, fd, in_unit);
    if (sys::failed(r))
        return nullptr;
    void *start = reinterpret_cast<void *>(r);
    sys::madvise(start, bytes, MADV_DONTFORK);
    return start;
}

uint64_t probe(int fd) {
    constexpr unsigned ops = 64;
    alignas(
        io_uring_probe) char room[sizeof(io_uring_probe) + ops * sizeof(io_uring_probe_op)] = {};
    if (sys::failed(sys::call(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, room, ops)))
        return 0;
    const auto *head = reinterpret_cast<const io_uring_probe *>(room);
    const auto *op = reinterpret_cast<const io_uring_probe_op *>(room + sizeof(io_uring_probe));
    uint64_t supported = 0;
    for (unsigned i = 0; i < head->ops_len && i < ops; ++i)
        if (op[i].flags & IO_URING_OP_SUPPORTED)
            supported |= uint64_t{1} << i;
    return supported;
}

bool map_both(uring_ring *ring, const io_uring_params &p) {
    size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe);
    ring->rings_bytes = sq > cq ? sq : cq;
    ring->sqes_bytes = p.sq_entries * sizeof(io_uring_sqe);
    ring->rings = map_ring(ring->fd, ring->rings_bytes, IORING_OFF_SQ_RING);
    ring->sqes = static_cast<io_uring_sqe *>(map_ring(ring->fd, ring->sqes_bytes, IORING_OFF_SQES));
    if (!ring->rings || !ring->sqes)
        return false;
    char *base = static_cast<char *>(ring->rings);
    auto at = [base](unsigned offset) { return reinterpret_cast<unsigned *>(base + offset); };
    ring->sq_tail = at(p.sq_off.tail);
    ring->sq_flags = at(p.sq_off.flags);
    ring->sq_mask = *at(p.sq_off.ring_mask);
    ring->cq_head = at(p.cq_off.head);
    ring->cq_tail = at(p.cq_off.tail);
    ring->cq_mask = *at(p.cq_off.ring_mask);
    ring->cqes = reinterpret_cast<io_uring_cqe *>(base + p.cq_off.cqes);
    unsigned *array = at(p.sq_off.array); // slot i of the ring is always request i
    for (unsigned i = 0; i < p.sq_entries; ++i)
        array[i] = i;
    return true;
}

sys::word enter(uring_ring *ring, unsigned submit, unsigned wait_for, unsigned flags) {
    return sys::call(SYS_io_uring_enter, ring->fd, submit, wait_for, flags, nullptr, 0);
}

} // namespace

int ring_open(uring_ring *ring) {
    if (ring_pretend_missing)
        return -ENOSYS;
    io_uring_params params;
    sys::word fd = set_up(&params);
    if (sys::failed(fd))
        return is_for_ever(fd) ? -ENOSYS : static_cast<int>(fd);
    ring->fd = static_cast<int>(fd);
    int error = 0;
    if ((params.features & needed_features) != needed_features)
        error = -ENOSYS;
    else if (!map_both(ring, params))
        error = -ENOMEM;
    else if ((ring->supported = probe(ring->fd)) == 0)
        error = -ENOSYS;
    if (error)
        ring_close(ring);
    return error;
}

void ring_close(uring_ring *ring) {
    if (ring->rings)
        sys::munmap(ring->rings, ring->rings_bytes);
    if (ring->sqes)
        sys::munmap(ring->sqes, ring->sqes_bytes);
    sys::close(ring->fd);
    *ring = {};
}

void ring_close_in_child(uring_ring *ring) {
    sys::close(ring->fd);
    *ring = {};
}

int ring_submit(uring_ring *ring, const io_uring_sqe &request) {
    unsigned tail = *ring->sq_tail;
    ring->sqes[tail & ring->sq_mask] = request;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    sys::word r;
    do
        r = enter(ring, 1, 0, 0);
    while (r == -EINTR);
    if (r == 1)
        return 0;
    __atomic_store_n(ring->sq_tail, tail,
                     __ATOMIC_RELEASE); // not taken: the kernel has not seen it
    return sys::failed(r) ? static_cast<int>(r) : -EAGAIN;
}

void ring_flush(uring_ring *ring) { enter(ring, 0, 0, IORING_ENTER_GETEVENTS); }

void ring_wait(uring_ring *ring, int ms) {
    pollfd p{ring->fd, POLLIN, 0};
    sys::kernel_timespec t{ms / 1000, static_cast<int64_t>(ms % 1000) * 1000000};
    sys::ppoll(&p, 1, &t, nullptr);
    ring_flush(ring);
}

bool ring_overflowed(const uring_ring *ring) {
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0;
}

bool ring_next(uring_ring *ring, uint64_t *user_data, int32_t *result) {
    unsigned head = *ring->cq_head;
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return false;
    const io_uring_cqe &cqe = ring->cqes[head & ring->cq_mask];
    *user_data = cqe.user_data;
    *result = cqe.res;
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    return true;
}

} // namespace corun
