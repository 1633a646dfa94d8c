// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/elf_file.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

const Elf64_Ehdr *header_of(const elf_file &f) {
    return reinterpret_cast<const Elf64_Ehdr *>(f.bytes);
}

const Elf64_Dyn *entry(const elf_file &f, Elf64_Sxword tag) {
    for (size_t i = 0; i < f.dynamic_count && f.dynamic[i].d_tag != DT_NULL; i++)
        if (f.dynamic[i].d_tag == tag)
            return &f.dynamic[i];
    return nullptr;
}

const char *named_by(const elf_file &f, Elf64_Sxword tag) {
    const Elf64_Dyn *found = entry(f, tag);
    return found == nullptr ? nullptr : f.name_at(found->d_un.d_val);
}

const Elf64_Shdr *section(const elf_file &f, size_t i) {
    const Elf64_Ehdr *h = header_of(f);
    if (i >= h->e_shnum || h->e_shentsize != sizeof(Elf64_Shdr))
        return nullptr;
    return static_cast<const Elf64_Shdr *>(
        f.at(h->e_shoff + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr)));
}

// All that is to be loaded is in the file.
bool whole(const elf_file &f) {
    for (size_t i = 0; const Elf64_Phdr *s = f.segment(i); i++)
        if (s->p_type == PT_LOAD && f.at(s->p_offset, s->p_filesz) == nullptr)
            return false;
    return f.segment(0) != nullptr;
}

void find_dynamic(elf_file *f) {
    for (size_t i = 0; const Elf64_Phdr *s = f->segment(i); i++) {
        if (s->p_type == PT_INTERP)
            f->interpreter = f->string_at(s->p_offset);
        if (s->p_type == PT_DYNAMIC) {
            f->dynamic = static_cast<const Elf64_Dyn *>(f->at(s->p_offset, s->p_filesz));
            f->dynamic_count = f->dynamic == nullptr ? 0 : s->p_filesz / sizeof(Elf64_Dyn);
        }
    }
}

// The dynamic table does not say how many symbols there are. The section header does; where it was
// stripped, the string table stands right behind the symbols, as all linkers put it.
void find_symbols(elf_file *f) {
    size_t bytes = 0;
    const Elf64_Dyn *symbols = entry(*f, DT_SYMTAB), *strings = entry(*f, DT_STRTAB);
    if (symbols == nullptr || strings == nullptr)
        return;
    for (size_t i = 0; const Elf64_Shdr *s = section(*f, i); i++)
        if (s->sh_type == SHT_DYNSYM)
            bytes = s->sh_size;
    if (bytes == 0 && strings->d_un.d_ptr > symbols->d_un.d_ptr)
        bytes = strings->d_un.d_ptr - symbols->d_un.d_ptr;
    f->symbols = static_cast<const Elf64_Sym *>(f->at_address(symbols->d_un.d_ptr, bytes));
    f->symbol_count = f->symbols == nullptr ? 0 : bytes / sizeof(Elf64_Sym);
}

} // namespace

const void *elf_file::at(size_t offset, size_t length) const {
    return offset <= size && length <= size - offset ? bytes + offset : nullptr;
}

const char *elf_file::string_at(size_t offset) const {
    if (offset >= size || memchr(bytes + offset, '\0', size - offset) == nullptr)
        return nullptr;
    return reinterpret_cast<const char *>(bytes) + offset;
}

const Elf64_Phdr *elf_file::segment(size_t i) const {
    const Elf64_Ehdr *h = header_of(*this);
    if (i >= h->e_phnum || h->e_phentsize != sizeof(Elf64_Phdr))
        return nullptr;
    return static_cast<const Elf64_Phdr *>(
        at(h->e_phoff + i * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr)));
}

const void *elf_file::at_address(Elf64_Addr address, size_t length) const {
    for (size_t i = 0; const Elf64_Phdr *s = segment(i); i++)
        if (s->p_type == PT_LOAD && address >= s->p_vaddr && address - s->p_vaddr < s->p_filesz &&
            length <= s->p_filesz - (address - s->p_vaddr))
            return at(s->p_offset + (address - s->p_vaddr), length);
    return nullptr;
}

const char *elf_file::name_at(size_t offset) const {
    const Elf64_Dyn *table = entry(*this, DT_STRTAB), *length = entry(*this, DT_STRSZ);
    if (table == nullptr || length == nullptr || offset >= length->d_un.d_val)
        return nullptr;
    const auto *found = static_cast<const char *>(at_address(table->d_un.d_ptr + offset, 1));
    return found == nullptr ? nullptr
                            : string_at(static_cast<size_t>(
                                  reinterpret_cast<const unsigned char *>(found) - bytes));
}

const char *elf_file::needed(size_t i) const {
    for (size_t k = 0; k < dynamic_count && dynamic[k].d_tag != DT_NULL; k++)
        if (dynamic[k].d_tag == DT_NEEDED && i-- == 0)
            return name_at(dynamic[k].d_un.d_val);
    return nullptr;
}

bool elf_file::find_symbol(const char *name, bool undefined) const {
    for (size_t i = 1; i < symbol_count; i++) {
        if (undefined && symbols[i].st_shndx != SHN_UNDEF)
            continue;
        const char *found = name_at(symbols[i].st_name);
        if (found != nullptr && same(found, name))
            return true;
    }
    return false;
}

const Elf64_Sym *elf_file::exported(const char *name) const {
    for (size_t i = 1; i < symbol_count; i++) {
        const char *found = name_at(symbols[i].st_name);
        if (symbols[i].st_shndx != SHN_UNDEF && found != nullptr && same(found, name))
            return &symbols[i];
    }
    return nullptr;
}

bool elf_file::imports(const char *name) const { return find_symbol(name, true); }
bool elf_file::mentions(const char *name) const { return find_symbol(name, false); }

bool elf_file::has_section(const char *name) const {
    const Elf64_Shdr *names = section(*this, header_of(*this)->e_shstrndx);
    for (size_t i = 0; const Elf64_Shdr *s = names == nullptr ? nullptr : section(*this, i); i++) {
        const char *found = string_at(names->sh_offset + s->sh_name);
        if (found != nullptr && same(found, name))
            return true;
    }
    return false;
}

const char *elf_file::needed_version(size_t i) const {
    const Elf64_Dyn *table = entry(*this, DT_VERNEED), *count = entry(*this, DT_VERNEEDNUM);
    Elf64_Addr at_need = table == nullptr ? 0 : table->d_un.d_ptr;
    for (size_t n = 0; table != nullptr && count != nullptr && n < count->d_un.d_val; n++) {
        const auto *need =
            static_cast<const Elf64_Verneed *>(at_address(at_need, sizeof(Elf64_Verneed)));
        if (need == nullptr)
            return nullptr;
        const char *file = name_at(need->vn_file);
        Elf64_Addr at_aux = at_need + need->vn_aux;
        for (size_t k = 0; k < need->vn_cnt && file != nullptr && same(file, "libc.so.6"); k++) {
            const auto *aux =
                static_cast<const Elf64_Vernaux *>(at_address(at_aux, sizeof(Elf64_Vernaux)));
            if (aux == nullptr)
                return nullptr;
            if (i-- == 0)
                return name_at(aux->vna_name);
            at_aux += aux->vna_next;
        }
        at_need += need->vn_next;
    }
    return nullptr;
}

const char *other_kind(const unsigned char *bytes, size_t size) {
    if (size >= 2 && bytes[0] == '#' && bytes[1] == '!')
        return "script";
    if (size < sizeof(Elf64_Ehdr) || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return "text";
    const auto *h = reinterpret_cast<const Elf64_Ehdr *>(bytes);
    if (bytes[EI_DATA] == ELFDATA2LSB && h->e_machine == EM_386)
        return "a 32-bit program (i386)";
    if (bytes[EI_DATA] == ELFDATA2LSB && h->e_machine == EM_X86_64)
        return bytes[EI_CLASS] == ELFCLASS64 ? nullptr : "a 32-bit program (x32)";
    if (bytes[EI_DATA] == ELFDATA2LSB && h->e_machine == EM_AARCH64)
        return "a program for another machine (aarch64)";
    return "a program for another machine";
}

bool open_elf(const char *path, elf_file *out) {
    *out = {};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size == 0) {
        close(fd);
        errno = 0;
        return false;
    }
    auto size = static_cast<size_t>(about.st_size);
    void *mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (mapped == MAP_FAILED) {
        errno = error;
        return false;
    }
    if (other_kind(static_cast<unsigned char *>(mapped), size) != nullptr) {
        munmap(mapped, size);
        errno = 0;
        return false;
    }
    out->bytes = static_cast<unsigned char *>(mapped);
    out->size = size;
    if (!whole(*out)) {
        munmap(mapped, size);
        *out = {};
        errno = 0;
        return false;
    }
    find_dynamic(out);
    find_symbols(out);
    out->soname = named_by(*out, DT_SONAME);
    out->rpath = named_by(*out, DT_RPATH);
    out->runpath = named_by(*out, DT_RUNPATH);
    return true;
}

} // namespace corun::launcher
