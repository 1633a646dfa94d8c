// SPDX-License-Identifier: Apache-2.0
// An ELF object as it stands in memory: its segments, the functions that its unwind table covers, the
// names of its dynamic symbol table. Either loaded by ld.so, or a file laid out here the same way
// (image_from_file), so that what is said of a file is what will be done once it is loaded.
//
// Addresses are those of the memory; address - bias is the one that the file was linked at. An image
// of a loaded object owns nothing and is good while the object is loaded. Nothing here uses malloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <elf.h>

namespace corun::waist {

struct image_segment {
    uintptr_t start;
    uintptr_t end; // of what comes from the file: .bss is not in it
    bool executable;
    bool writable;
};

struct image {
    static constexpr size_t max_segments = 16;

    const char *name; // the caller's
    uintptr_t bias;
    image_segment segments[max_segments];
    size_t segment_count;
    uintptr_t frame_index; // .eh_frame_hdr, 0: none
    uintptr_t dynamic;     // 0: none
    bool relocated;   // by ld.so: what is writable holds addresses, and what its code has put there
    uintptr_t mapped; // image_from_file: what image_unmap gives back
    size_t mapped_bytes;
};

// A stretch of code that one entry of the unwind table or one symbol covers.
struct code_range {
    uintptr_t start;
    uintptr_t end;
};

// From the program headers of a loaded object. False: it has more segments than we know to hold.
bool image_from_headers(image *out, const char *name, uintptr_t bias, const Elf64_Phdr *headers,
                        size_t count);
// From the ELF header that stands at the start of a loaded object. 0 or -errno (-ENOEXEC: not ELF64
// for x86_64 or not whole).
int image_from_memory(image *out, const char *name, const void *elf_header);
// Maps the file read-only, as ld.so would lay it out. 0 or -errno.
int image_from_file(image *out, const char *path);
void image_unmap(image *img);

// The segment that holds [start, start + bytes), or nullptr.
const image_segment *segment_of(const image &img, uintptr_t start, size_t bytes);

// The code that pc belongs to, from .eh_frame; else from the dynamic symbols. False: unknown.
// An entry that ends just at pc is taken to go on: clone's end theirs at the syscall, because behind it
// the child has another stack.
bool unwind_range(const image &img, uintptr_t pc, code_range *out);
bool symbol_range(const image &img, uintptr_t pc, code_range *out);

// Calls see for each function that the object exports, in no order.
void each_function(const image &img, void (*see)(uintptr_t start, void *data), void *data);

// The dynamic symbol that covers pc, else the last one before it, with pc's distance; nullptr: none.
const char *symbol_name(const image &img, uintptr_t pc, uintptr_t *distance);

} // namespace corun::waist
