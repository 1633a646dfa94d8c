// SPDX-License-Identifier: Apache-2.0
// What the program and the libraries in it import, and where that leads: read from the relocation
// tables of every loaded object.
//
//     references all;
//     if (all.gather(names, count))                  // sorted by name
//         for (size_t i = 0; i < all.found.size(); ++i) ...
//
// A slot that is still to be bound (lazy binding) counts as what the global lookup finds. libc, the
// dynamic linker and libcorun are left out: their own calls are not the program's.
#pragma once

#include "co_routine/base/raw_vector.h"

#include <cstdint>

namespace corun::symbols {

struct loaded_object {
    char name[48]; // without directories
    uintptr_t low, high;
    bool program, left_out;
};

struct reference {
    uint32_t name;   // index into what was asked for
    uint32_t object; // who imports it
    void *target;    // nullptr: to nothing
};

struct references {
    raw_vector<loaded_object> objects;
    raw_vector<reference> found; // by name, then object; each pair once
    bool is_static = false;      // the linker has resolved everything, there is nothing to read

    // names: sorted by strcmp. ours: an address in libcorun. False: no memory.
    bool gather(const char *const *names, size_t count, const void *ours);
    // The object that the address lies in; nullptr: none.
    const loaded_object *object_at(const void *address) const;
};

} // namespace corun::symbols
