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

bool slot_code::build(const site &s, uintptr_t slot, bool over_island) {
    __builtin_memcpy(bytes, reinterpret_cast<const void *>(slot), sizeof bytes);
    const auto *window = reinterpret_cast<const uint8_t *>(s.window());
    const auto *behind = reinterpret_cast<const uint8_t *>(s.return_address());
    entry = slot + CORUN_SLOT_ENTER - s.before;
    if (s.before && relocate(window, s.before, s.window(), bytes + CORUN_SLOT_ENTER - s.before,
                             s.before, entry) != s.before)
        return false;
    unsigned back = over_island ? far_jump_bytes : jump_bytes;
    unsigned at = CORUN_SLOT_LEAVE;
    if (s.after) {
        unsigned n = relocate(behind, s.after, s.return_address(), bytes + at,
                              CORUN_SLOT_SITE - back - at, slot + at);
        if (!n)
            return false;
        at += n;
    }
    uint8_t there[jump_bytes];
    if (over_island)
        write_far_jump(bytes + at, s.window_end());
    else if (!write_jump(bytes + at, slot + at, s.window_end()) ||
             !write_jump(there, s.window(), entry))
        return false;
    if (s.plain) {
        auto distance = static_cast<int32_t>(reinterpret_cast<uintptr_t>(&waist_entry_plain) -
                                             (slot + CORUN_SLOT_RETURN));
        __builtin_memcpy(bytes + CORUN_SLOT_RETURN - sizeof distance, &distance, sizeof distance);
    }
    uintptr_t address = s.return_address();
    __builtin_memcpy(bytes + CORUN_SLOT_SITE, &address, sizeof address);
    return true;
}

} // namespace corun::waist
