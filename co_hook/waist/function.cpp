// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/function.h"

#include "co_hook/waist/decoder.h"

namespace corun::waist {
namespace {

const uint8_t *bytes_at(uintptr_t address) { return reinterpret_cast<const uint8_t *>(address); }

bool clear_bits(raw_vector<uint64_t> *bits, size_t count) {
    bits->clear();
    for (size_t i = 0; i <= count / 64; ++i)
        if (!bits->push_back(0))
            return false;
    return true;
}

// mov $SYS_rt_sigreturn, %rax; syscall: where signal handlers return to. Its unwind entry begins a byte
// early, for those who look up pc - 1; unwinders without that entry know it by these bytes.
constexpr uint8_t restorer[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

// lea distance(%rip), register: how position-independent code takes the address of its jump table.
bool takes_address(const uint8_t *bytes, unsigned n) {
    return n == 7 && (bytes[0] & 0xf8) == 0x48 && bytes[1] == 0x8d && (bytes[2] & 0xc7) == 0x05;
}

// jmp *register or jmp *memory, behind any prefix (notrack is one).
bool jumps_indirectly(const uint8_t *bytes, unsigned n) {
    for (unsigned i = 0; i + 1 < n; ++i)
        if (bytes[i] == 0xff && (bytes[i + 1] & 0x38) == 0x20)
            return true;
    return false;
}

} // namespace

bool function_map::enter(uintptr_t pc) {
    if (pc >= range_.start && pc < range_.end)
        return true;
    code_range range;
    if (!unwind_range(image_, pc, &range) && !symbol_range(image_, pc, &range))
        return false;
    if (segment_of(image_, range.start + 1, sizeof restorer) &&
        !__builtin_memcmp(bytes_at(range.start + 1), restorer, sizeof restorer))
        ++range.start;
    range_ = range;
    next_ = range.start;
    stuck_ = finished_ = jumps_by_table_ = has_breakpoint_ = uses_vectors_ = false;
    tables_.clear();
    size_t bytes = range.end - range.start;
    failed_ |= !clear_bits(&starts_, bytes) || !clear_bits(&targets_, bytes);
    if (failed_)
        range_ = {};
    return !failed_;
}

bool function_map::advance(uintptr_t address) {
    while (next_ < address && !stuck_) {
        unsigned n = instruction_length(bytes_at(next_), range_.end - next_, next_);
        if (!n) {
            stuck_ = true;
            break;
        }
        note_instruction(next_, n);
        next_ += n;
    }
    return !stuck_;
}

void function_map::note_instruction(uintptr_t at, unsigned n) {
    const uint8_t *bytes = bytes_at(at);
    size_t i = at - range_.start;
    starts_[i / 64] |= uint64_t{1} << i % 64;
    uses_vectors_ = uses_vectors_ || may_use_vectors(bytes, n);
    has_breakpoint_ |= n == 1 && *bytes == 0xcc; // int3
    instruction branch;
    if (relative_branch(bytes, n, at, &branch)) {
        note_target(branch.target);
    } else if (takes_address(bytes, n)) {
        int32_t distance;
        __builtin_memcpy(&distance, bytes + 3, sizeof distance);
        uintptr_t table = at + n + static_cast<uintptr_t>(static_cast<intptr_t>(distance));
        const image_segment *s = segment_of(image_, table, sizeof distance);
        if (s && !s->executable && table % sizeof distance == 0)
            failed_ |= !tables_.push_back(table);
    } else {
        jumps_by_table_ |= jumps_indirectly(bytes, n);
    }
}

void function_map::note_target(uintptr_t target) {
    size_t i = target - range_.start;
    if (target >= range_.start && target < range_.end)
        targets_[i / 64] |= uint64_t{1} << i % 64;
}

// An entry is the distance from its table's start to the code. A table's end is not marked: what
// still leads into the function is taken for an entry.
void function_map::read_tables() {
    for (size_t t = 0; t < tables_.size(); ++t)
        for (uintptr_t at = tables_[t]; segment_of(image_, at, sizeof(int32_t)); at += 4) {
            int32_t distance;
            __builtin_memcpy(&distance, bytes_at(at), sizeof distance);
            uintptr_t target = tables_[t] + static_cast<uintptr_t>(static_cast<intptr_t>(distance));
            if (target < range_.start || target >= range_.end)
                break;
            note_target(target);
        }
}

bool function_map::is_start(uintptr_t address) {
    size_t i = address - range_.start;
    // One further: that the address itself holds an instruction is known once it is decoded.
    return (advance(address + 1) || next_ > address) && bit(starts_, i);
}

bool function_map::finish() {
    if (!finished_) {
        finished_ = true;
        advance(range_.end);
        if (jumps_by_table_)
            read_tables();
    }
    return !stuck_;
}

uintptr_t function_map::previous(uintptr_t address) const {
    for (uintptr_t at = address; at-- > range_.start && address - at <= longest_instruction;)
        if (bit(starts_, at - range_.start))
            return at;
    return 0;
}

bool function_map::is_target(uintptr_t start, uintptr_t end) const {
    for (uintptr_t at = start; at < end && at < range_.end; ++at)
        if (bit(targets_, at - range_.start))
            return true;
    return false;
}

} // namespace corun::waist
