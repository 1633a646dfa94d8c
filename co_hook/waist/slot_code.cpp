// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/slot_code.h"

#include "co_hook/waist/decoder.h"

extern "C" __attribute__((visibility("hidden"))) void waist_entry_plain();

namespace corun::waist {

bool write_jump(uint8_t *out, uintptr_t from, uintptr_t to) {
    auto distance = static_cast<intptr_t>(to - (from + jump_bytes));
    auto narrow = static_cast<int32_t>(distance);
    out[0] = 0xe9;
    __builtin_memcpy(out + 1, &narrow, sizeof narrow);
    return narrow == distance;
}

// jmp *0(%rip), and the address behind it
void write_far_jump(uint8_t *out, uintptr_t to) {
    static constexpr uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};
    __builtin_memcpy(out, jump, sizeof jump);
    __builtin_memcpy(out + sizeof jump, &to, sizeof to);
}

namespace {

const uint8_t *bytes_at(uintptr_t address) { return reinterpret_cast<const uint8_t *>(address); }

// What stands in front of the site's syscall. False: it cannot stand there.
bool displace_front(const site &s, uint8_t *out, uintptr_t to) {
    return !s.before ||
           relocate(bytes_at(s.window()), s.before, s.window(), out, s.before, to) == s.before;
}

// What stands behind it. Returns the bytes written; 0 for some: they cannot stand there.
unsigned displace_back(const site &s, uint8_t *out, unsigned room, uintptr_t to) {
    uintptr_t from = s.return_address();
    return s.after ? relocate(bytes_at(from), s.after, from, out, room, to) : 0;
}

} // namespace

void slot_code::begin(const site &s, uintptr_t slot) {
    __builtin_memcpy(bytes, bytes_at(slot), sizeof bytes);
    island_bytes = 0;
    if (s.plain) {
        auto distance = static_cast<int32_t>(reinterpret_cast<uintptr_t>(&waist_entry_plain) -
                                             (slot + CORUN_SLOT_RETURN));
        __builtin_memcpy(bytes + CORUN_SLOT_RETURN - sizeof distance, &distance, sizeof distance);
    }
    uintptr_t address = s.return_address();
    __builtin_memcpy(bytes + CORUN_SLOT_SITE, &address, sizeof address);
}

bool slot_code::build(const site &s, uintptr_t slot) {
    begin(s, slot);
    entry = slot + CORUN_SLOT_ENTER - s.before;
    uint8_t there[jump_bytes];
    if (!displace_front(s, bytes + CORUN_SLOT_ENTER - s.before, entry) ||
        !write_jump(there, s.window(), entry))
        return false;
    unsigned room = CORUN_SLOT_SITE - jump_bytes - CORUN_SLOT_LEAVE;
    unsigned n = displace_back(s, bytes + CORUN_SLOT_LEAVE, room, slot + CORUN_SLOT_LEAVE);
    unsigned at = CORUN_SLOT_LEAVE + n;
    return (n || !s.after) && write_jump(bytes + at, slot + at, s.window_end());
}

bool slot_code::build_over_island(const site &s, uintptr_t slot, uintptr_t island_at) {
    begin(s, slot);
    return lead_in(s, slot, island_at) && lead_back(s, slot, island_at);
}

bool slot_code::lead_in(const site &s, uintptr_t slot, uintptr_t island_at) {
    uintptr_t goal = slot + CORUN_SLOT_ENTER - s.before;
    if (!displace_front(s, bytes + CORUN_SLOT_ENTER - s.before, goal)) {
        if (!displace_front(s, island, island_at))
            return false;
        goal = slot + CORUN_SLOT_ENTER;
        island_bytes = s.before;
    }
    write_far_jump(island + island_bytes, goal);
    island_bytes += far_jump_bytes;
    entry = island_at;
    uint8_t there[jump_bytes];
    return write_jump(there, s.window(), entry);
}

bool slot_code::lead_back(const site &s, uintptr_t slot, uintptr_t island_at) {
    unsigned at = CORUN_SLOT_LEAVE;
    unsigned n = displace_back(s, bytes + at, CORUN_SLOT_SITE - far_jump_bytes - at, slot + at);
    if (n || !s.after) {
        write_far_jump(bytes + at + n, s.window_end());
        return true;
    }
    uintptr_t rest = island_at + island_bytes;
    n = displace_back(s, island + island_bytes, most_island_bytes - jump_bytes - island_bytes,
                      rest);
    if (!n)
        return false;
    write_far_jump(bytes + at, rest);
    island_bytes += n + jump_bytes;
    return write_jump(island + island_bytes - jump_bytes, rest + n, s.window_end());
}

} // namespace corun::waist
