// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/measure.h"

#include "co_routine/co_routine.h"
#include "co_routine/core/coroutine.h"
#include "perf/stackmem/drive.h"
#include "perf/stackmem/live_bytes.h"

namespace stackmem {
namespace {

bool may_end;

void *suspended(void *number) {
    long changed = with_live_bytes(reinterpret_cast<uintptr_t>(number), [](uintptr_t) {
        do
            co_yield_ct();
        while (!may_end);
    });
    return reinterpret_cast<void *>(static_cast<intptr_t>(changed));
}

class coroutines {
  public:
    coroutines(const plan &p, long count) : all_(prepared_array<stCoRoutine_t *>(count)) {
        attributes_.stack_size = static_cast<int>(p.stack_bytes);
        attributes_.guard_size = p.what.guard_bytes;
        co_self(); // the thread's own block is not one of theirs
        shared_ = p.what.how == way::shared_stack ? p.what.shared_stacks : 0;
    }

    int make(long i) {
        if (all_ == nullptr)
            return ENOMEM;
        // Counted: they belong to the coroutines.
        if (shared_ > 0 && attributes_.share_stack == nullptr) {
            attributes_.share_stack = co_alloc_sharestack(shared_, attributes_.stack_size);
            if (attributes_.share_stack == nullptr)
                return errno;
        }
        int error = co_create(&all_[i], &attributes_, suspended, reinterpret_cast<void *>(i));
        if (error == 0)
            co_resume(all_[i]);
        return error;
    }
    void made_until(long) {}
    void activate(long i) { co_resume(all_[i]); }
    void end(long from, long to) {
        may_end = true;
        for (long i = from; i < to; i++) {
            co_resume(all_[i]);
            void *changed = nullptr;
            co_join(all_[i], &changed);
            damaged_ += reinterpret_cast<intptr_t>(changed);
            co_release(all_[i]);
        }
    }
    long damaged() const { return damaged_; }
    void read(measurement *m) {
        co_stats stats;
        co_get_stats(&stats);
        m->saved = static_cast<int64_t>(stats.bytes_saved);
        m->save_buffers = static_cast<int64_t>(stats.save_buffer_bytes);
        m->unguarded = static_cast<int64_t>(stats.stacks_unguarded);
        m->control_block = static_cast<int64_t>(sizeof(stCoRoutine_t));
    }

  private:
    stCoRoutine_t **all_;
    stCoRoutineAttr_t attributes_;
    int shared_;
    long damaged_ = 0;
};

} // namespace

void measure_coroutines(const plan &p, const ceiling &c, measurement *m) {
    coroutines s(p, c.count);
    drive(s, p, c, m);
}

} // namespace stackmem
