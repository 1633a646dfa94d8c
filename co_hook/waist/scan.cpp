// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/scan.h"

#include <cerrno>
#include <cstring>

namespace corun::waist {
namespace {

// How far around a syscall instruction bytes may be displaced.
constexpr uintptr_t reach = 16;

const uint8_t *bytes_at(uintptr_t address) { return reinterpret_cast<const uint8_t *>(address); }

size_t first_not_below(const raw_vector<uintptr_t> &sorted, uintptr_t value) {
    size_t low = 0, high = sorted.size();
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sorted[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// "Is there a syscall within reach of this address?", asked of every branch in the object: the
// answer is nearly always no, and then one bit says so.
class neighbourhood {
  public:
    explicit neighbourhood(const raw_vector<uintptr_t> &syscalls) : syscalls_(syscalls) {
        for (size_t i = 0; i < syscalls.size(); ++i)
            for (uintptr_t a = syscalls[i] - reach; a <= syscalls[i] + reach + grain; a += grain)
                bits_[word_of(a)] |= bit_of(a);
    }
    bool holds(uintptr_t address) const {
        if (!(bits_[word_of(address)] & bit_of(address)))
            return false;
        size_t i = first_not_below(syscalls_, address < reach ? 0 : address - reach);
        return i < syscalls_.size() && syscalls_[i] <= address + reach;
    }

  private:
    static constexpr uintptr_t grain = 32;
    static constexpr size_t words = 512;
    static size_t word_of(uintptr_t a) { return a / grain / 64 % words; }
    static uint64_t bit_of(uintptr_t a) { return uint64_t{1} << a / grain % 64; }

    const raw_vector<uintptr_t> &syscalls_;
    uint64_t bits_[words] = {};
};

bool find_syscalls(const image_segment &s, raw_vector<uintptr_t> *out) {
    const uint8_t *at = bytes_at(s.start), *end = bytes_at(s.end) - 1;
    while (at < end &&
           (at = static_cast<const uint8_t *>(memchr(at, 0x0f, static_cast<size_t>(end - at))))) {
        if (at[1] == 0x05 && !out->push_back(reinterpret_cast<uintptr_t>(at)))
            return false;
        ++at;
    }
    return true;
}

// call, jmp and jcc with 32 bits of distance, at every byte.
bool find_branches(const image_segment &s, const neighbourhood &near, raw_vector<uintptr_t> *out) {
    for (uintptr_t at = s.start; at + 5 <= s.end; ++at) {
        uint8_t opcode = *bytes_at(at);
        uintptr_t field = at + 1;
        if (opcode == 0x0f) {
            if ((*bytes_at(at + 1) & 0xf0) != 0x80 || at + 6 > s.end)
                continue;
            ++field;
        } else if ((opcode & 0xfe) != 0xe8) {
            continue;
        }
        int32_t distance;
        __builtin_memcpy(&distance, bytes_at(field), sizeof distance);
        uintptr_t target = field + 4 + static_cast<uintptr_t>(static_cast<intptr_t>(distance));
        if (near.holds(target) && !out->push_back(target))
            return false;
    }
    return true;
}

// Words that are an address of code: as ld.so has relocated them or will, or as an addend. Variables
// hold no addends once it has, but numbers that a run chooses: ld.so's own time of start, in cycles, was
// one in 300 times the address of an instruction, and the program refused.
bool find_pointers(const image &img, const image_segment &s, const neighbourhood &near,
                   raw_vector<uintptr_t> *out) {
    bool addends = img.bias != 0 && !(img.relocated && s.writable);
    for (uintptr_t at = (s.start + 7) & ~uintptr_t{7}; at + 8 <= s.end; at += 8) {
        uintptr_t value;
        __builtin_memcpy(&value, bytes_at(at), sizeof value);
        if (near.holds(value) && !out->push_back(value))
            return false;
        if (addends && near.holds(value + img.bias) && !out->push_back(value + img.bias))
            return false;
    }
    return true;
}

// There are few: an insertion sort.
void sort(raw_vector<uintptr_t> *v) {
    for (size_t i = 1; i < v->size(); ++i) {
        uintptr_t value = (*v)[i];
        size_t k = i;
        for (; k > 0 && (*v)[k - 1] > value; --k)
            (*v)[k] = (*v)[k - 1];
        (*v)[k] = value;
    }
}

} // namespace

bool code_scan::is_target(uintptr_t start, uintptr_t end) const {
    size_t i = first_not_below(targets, start);
    return i < targets.size() && targets[i] < end;
}

int scan_image(const image &img, code_scan *out) {
    for (size_t i = 0; i < img.segment_count; ++i)
        if (img.segments[i].executable && !find_syscalls(img.segments[i], &out->syscalls))
            return -ENOMEM;
    if (out->syscalls.empty())
        return 0;
    sort(&out->syscalls);
    neighbourhood near(out->syscalls);
    for (size_t i = 0; i < img.segment_count; ++i) {
        const image_segment &s = img.segments[i];
        if (!(s.executable ? find_branches(s, near, &out->targets)
                           : find_pointers(img, s, near, &out->targets)))
            return -ENOMEM;
    }
    sort(&out->targets);
    return 0;
}

uintptr_t short_branch_into(uintptr_t from, uintptr_t to, uintptr_t start, uintptr_t end) {
    for (uintptr_t at = from; at + 2 <= to; ++at) {
        uint8_t opcode = *bytes_at(at);
        bool is_branch = (opcode & 0xf0) == 0x70 || opcode == 0xeb || (opcode & 0xfc) == 0xe0;
        uintptr_t target = at + 2 + static_cast<uintptr_t>(static_cast<int8_t>(*bytes_at(at + 1)));
        if (is_branch && target >= start && target < end)
            return at;
    }
    return 0;
}

} // namespace corun::waist
