// SPDX-License-Identifier: Apache-2.0
// An ELF file as the launcher looks at it: what machine it is for, which interpreter loads it, what it
// needs and imports. Nothing is run and nothing believed: every offset is checked against the file.
#ifndef CORUN_HOOK_LAUNCHER_ELF_FILE_H
#define CORUN_HOOK_LAUNCHER_ELF_FILE_H

#include <cstddef>
#include <elf.h>

namespace corun::launcher {

struct elf_file {
    const unsigned char *bytes = nullptr; // the file, mapped
    size_t size = 0;
    const char *interpreter = nullptr; // PT_INTERP; nullptr: none
    const char *soname = nullptr, *rpath = nullptr, *runpath = nullptr;
    const Elf64_Dyn *dynamic = nullptr;
    size_t dynamic_count = 0;
    const Elf64_Sym *symbols = nullptr; // .dynsym
    size_t symbol_count = 0;

    // An x86_64 ELF file. What the others are, kind_of says.
    bool good() const { return bytes != nullptr; }
    // The i-th DT_NEEDED, nullptr behind the last.
    const char *needed(size_t i) const;
    // Is there such an undefined symbol, or any of that name at all?
    bool imports(const char *name) const;
    bool mentions(const char *name) const;
    const Elf64_Sym *exported(const char *name) const; // of this name and defined, or nullptr
    bool has_section(const char *name) const;
    // The i-th version of libc that is needed ("GLIBC_2.34"), nullptr behind the last.
    const char *needed_version(size_t i) const;

    const void *at(size_t offset, size_t length) const; // nullptr: not in the file
    const char *string_at(size_t offset) const;         // nullptr: none that ends
    const void *at_address(Elf64_Addr address, size_t length) const;
    const Elf64_Phdr *segment(size_t i) const; // nullptr behind the last
    const char *name_at(size_t offset) const;  // in the dynamic string table

  private:
    bool find_symbol(const char *name, bool undefined) const;
};

// False where there is no such file or it cannot be read (errno) or is no whole x86_64 ELF file (errno 0;
// then `bytes` stays nullptr).
bool open_elf(const char *path, elf_file *out);

// What the first bytes say: what it is in words when it is no x86_64 ELF file, else nullptr. "script"
// and "text" for what is no ELF file at all.
const char *other_kind(const unsigned char *bytes, size_t size);

} // namespace corun::launcher

#endif
