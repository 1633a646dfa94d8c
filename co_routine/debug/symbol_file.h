// SPDX-License-Identifier: Apache-2.0
// The functions of an ELF file by its symbol table, which knows those that are not exported: .symtab, else
// that of the file which Debian's -dbgsym packages put under /usr/lib/debug/.build-id, else .dynsym.
//
//     symbol_file f;
//     if (f.open("/usr/sbin/mariadbd")) {
//         uintptr_t distance;
//         const char *name = f.name_of(pc - start_of_mapping, &distance);   // until the file is closed
//         f.close();                                                         // it has no destructor
//     }
//
// Raw system calls and no malloc: also in a signal handler. Every offset is checked against the file. 64
// or 32 bits, as the library is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <link.h>

namespace corun {

class symbol_file {
  public:
    bool open(const char *path); // false: it cannot be read, or has no symbols
    void close();

    // Does the file begin with what stands at mapped: the headers, and mostly the build id?
    bool begins_as(const void *mapped) const;

    // The function that covers the byte so far behind the start of the first segment's mapping, or
    // nullptr; *distance from its start.
    const char *name_of(uintptr_t offset, uintptr_t *distance) const;

  private:
    struct mapped_file {
        const char *bytes = nullptr;
        size_t size = 0;
        const ElfW(Sym) *symbols = nullptr;
        size_t count = 0;
        const char *names = nullptr;
        size_t names_bytes = 0;

        bool map(const char *path);
        void unmap();
        const void *at(size_t offset, size_t length) const; // nullptr: not in the file
        template <class T> const T *array_at(size_t offset, size_t count) const;
        bool find_symbols(unsigned type); // SHT_SYMTAB or SHT_DYNSYM
        bool path_of_debug_file(char *out, size_t size) const;
        bool first_address(uintptr_t *out) const;
    };

    mapped_file file_, debug_;
    const mapped_file *symbols_ = nullptr;
    uintptr_t first_ = 0; // the address that the first segment was linked at, by whole pages
};

} // namespace corun
