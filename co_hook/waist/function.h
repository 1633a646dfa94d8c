// SPDX-License-Identifier: Apache-2.0
// One function, decoded from its start: where its instructions begin and where its own branches lead
// to, its jump tables' included. It decodes as far as it is asked to, and keeps the function until
// one of another is asked for.
#pragma once

#include "co_hook/waist/image.h"
#include "co_routine/base/raw_vector.h"

namespace corun::waist {

class function_map {
  public:
    explicit function_map(const image &img) : image_(img) {}

    // Goes to the function that holds pc. False: the object does not say where one begins. -ENOMEM
    // is reported by failed().
    bool enter(uintptr_t pc);
    bool failed() const { return failed_; }

    // Decodes up to address. True: an instruction begins there.
    bool is_start(uintptr_t address);
    // Decodes the rest. False: capstone did not know an instruction, from stopped_at() on.
    bool finish();
    // A breakpoint stands where an instruction would begin: what follows cannot be told.
    bool has_breakpoint() const { return has_breakpoint_; }
    // Once finished: whether it may keep something in a vector register.
    bool uses_vectors() const { return uses_vectors_ || stuck_; }
    uintptr_t stopped_at() const { return next_; }

    // The instruction in front of the one at address, 0: none. Only where is_start has been.
    uintptr_t previous(uintptr_t address) const;
    // Once finished: a branch of the function, or an entry of its jump tables, leads there.
    bool is_target(uintptr_t start, uintptr_t end) const;
    const code_range &range() const { return range_; }

  private:
    bool advance(uintptr_t address);
    void note_instruction(uintptr_t at, unsigned bytes);
    void note_target(uintptr_t target);
    void read_tables();
    static bool bit(const raw_vector<uint64_t> &bits, size_t i) {
        return bits[i / 64] >> i % 64 & 1;
    }

    const image &image_;
    code_range range_ = {};
    uintptr_t next_ = 0; // decoded up to here
    bool stuck_ = false; // and no further
    bool finished_ = false;
    bool failed_ = false;
    bool jumps_by_table_ = false;
    bool has_breakpoint_ = false;
    bool uses_vectors_ = false;
    raw_vector<uint64_t> starts_, targets_; // a bit for each byte of the function
    raw_vector<uintptr_t> tables_;          // addresses outside code that it takes
};

} // namespace corun::waist
