// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/symbol_file.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/stack/private_stack.h"

#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace corun {
namespace {

bool format_debug_path(const unsigned char *id, size_t bytes, char *out, unsigned size) {
    unsigned n = format_line(out, size, "/usr/lib/debug/.build-id/");
    for (size_t i = 0; i < bytes; ++i)
        n += format_line(out + n, size - n, i == 1 ? "/%x%x" : "%x%x", id[i] >> 4, id[i] & 15);
    n += format_line(out + n, size - n, ".debug");
    return n < size - 1;
}

// recv rather than __libc_recv, __clock_nanosleep rather than an old version's clock_nanosleep@GLIBC_2.2.5.
bool is_plainer(const char *name, const char *than) {
    auto oddity = [](const char *n) { return strspn(n, "_") + (strchr(n, '@') ? 8 : 0); };
    size_t a = oddity(name), b = oddity(than);
    return a < b || (a == b && strlen(name) < strlen(than));
}

} // namespace

const void *symbol_file::mapped_file::at(size_t offset, size_t length) const {
    return offset <= size && length <= size - offset ? bytes + offset : nullptr;
}

// nullptr also for what does not stand where a T may.
template <class T> const T *symbol_file::mapped_file::array_at(size_t offset, size_t n) const {
    size_t length;
    if (__builtin_mul_overflow(n, sizeof(T), &length) || offset % alignof(T) != 0)
        return nullptr;
    return static_cast<const T *>(at(offset, length));
}

bool symbol_file::mapped_file::map(const char *path) {
    sys::word fd =
        sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  0); // it may be a FIFO by now
    if (sys::failed(fd))
        return false;
    int64_t length = 0;
    bool has_length = sys::lseek(static_cast<int>(fd), 0, SEEK_END, &length) == 0 && length > 0 &&
                      static_cast<uint64_t>(length) < SIZE_MAX / 2;
    size = has_length ? static_cast<size_t>(length) : 0;
    sys::word r = has_length ? sys::call(sys::nr_mmap, 0L, size, PROT_READ, MAP_PRIVATE, fd, 0L)
                             : sys::word{-1};
    sys::close(static_cast<int>(fd));
    if (sys::failed(r))
        return size = 0, false;
    bytes = reinterpret_cast<const char *>(r);
    constexpr unsigned char own_class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    const auto *header = array_at<ElfW(Ehdr)>(0, 1);
    if (header && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
        header->e_ident[EI_CLASS] == own_class && header->e_shentsize == sizeof(ElfW(Shdr)) &&
        header->e_phentsize == sizeof(ElfW(Phdr)))
        return true;
    unmap();
    return false;
}

void symbol_file::mapped_file::unmap() {
    if (bytes)
        sys::munmap(const_cast<char *>(bytes), size);
    *this = {};
}

bool symbol_file::mapped_file::find_symbols(unsigned type) {
    const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(bytes);
    const auto *sections = array_at<ElfW(Shdr)>(header->e_shoff, header->e_shnum);
    for (unsigned i = 0; sections && i < header->e_shnum; ++i) {
        const ElfW(Shdr) &s = sections[i];
        if (s.sh_type != type || s.sh_link >= header->e_shnum)
            continue;
        const ElfW(Shdr) &strings = sections[s.sh_link];
        symbols = array_at<ElfW(Sym)>(s.sh_offset, s.sh_size / sizeof(ElfW(Sym)));
        names = static_cast<const char *>(at(strings.sh_offset, strings.sh_size));
        count = s.sh_size / sizeof(ElfW(Sym));
        names_bytes = strings.sh_size;
        return symbols && names && names_bytes > 0 && names[names_bytes - 1] == '\0';
    }
    return false;
}

// /usr/lib/debug/.build-id/ab/cdef....debug, by the note of the linker.
bool symbol_file::mapped_file::path_of_debug_file(char *out, size_t size_of_out) const {
    const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(bytes);
    const auto *segments = array_at<ElfW(Phdr)>(header->e_phoff, header->e_phnum);
    for (unsigned i = 0; segments && i < header->e_phnum; ++i) {
        if (segments[i].p_type != PT_NOTE || !at(segments[i].p_offset, segments[i].p_filesz))
            continue;
        for (size_t from = 0; from < segments[i].p_filesz;) {
            size_t start = segments[i].p_offset + from;
            const auto *note = array_at<ElfW(Nhdr)>(start, 1);
            if (!note)
                break;
            size_t name_bytes = (note->n_namesz + size_t{3}) & ~size_t{3};
            size_t id_bytes = note->n_descsz, id_at = start + sizeof *note + name_bytes;
            const auto *id = static_cast<const unsigned char *>(at(id_at, id_bytes));
            if (note->n_type == NT_GNU_BUILD_ID && id && id_bytes > 1)
                return format_debug_path(id, id_bytes, out, static_cast<unsigned>(size_of_out));
            from += sizeof *note + name_bytes + ((id_bytes + 3) & ~size_t{3});
        }
    }
    return false;
}

bool symbol_file::mapped_file::first_address(uintptr_t *out) const {
    const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(bytes);
    const auto *segments = array_at<ElfW(Phdr)>(header->e_phoff, header->e_phnum);
    for (unsigned i = 0; segments && i < header->e_phnum; ++i)
        if (segments[i].p_type == PT_LOAD) {
            *out = segments[i].p_vaddr & ~(page_size - 1);
            return true;
        }
    return false;
}

bool symbol_file::open(const char *path) {
    close();
    char path_of_debug[160];
    if (!file_.map(path) || !file_.first_address(&first_))
        return close(), false;
    symbols_ = &file_;
    if (file_.find_symbols(SHT_SYMTAB))
        return true;
    if (file_.path_of_debug_file(path_of_debug, sizeof path_of_debug) &&
        debug_.map(path_of_debug) && debug_.find_symbols(SHT_SYMTAB)) {
        symbols_ = &debug_;
        return true;
    }
    if (file_.find_symbols(SHT_DYNSYM))
        return true;
    return close(), false;
}

bool symbol_file::begins_as(const void *mapped) const {
    char there[1024];
    size_t bytes = file_.size < sizeof there ? file_.size : sizeof there;
    return file_.bytes && copy_from_user(there, mapped, bytes) &&
           memcmp(there, file_.bytes, bytes) == 0;
}

void symbol_file::close() {
    file_.unmap();
    debug_.unmap();
    symbols_ = nullptr;
}

// Of several names of one place the plainest.
const char *symbol_file::name_of(uintptr_t offset, uintptr_t *distance) const {
    if (!symbols_)
        return nullptr;
    uintptr_t address = offset + first_;
    const char *best = nullptr;
    for (size_t i = 0; i < symbols_->count; ++i) {
        const ElfW(Sym) &s = symbols_->symbols[i];
        unsigned type = s.st_info & 0xf;
        if (address - s.st_value >= s.st_size || s.st_shndx == SHN_UNDEF ||
            (type != STT_FUNC && type != STT_GNU_IFUNC) || s.st_name >= symbols_->names_bytes)
            continue;
        const char *name = symbols_->names + s.st_name;
        if (best && !is_plainer(name, best))
            continue;
        *distance = address - s.st_value;
        best = name;
    }
    return best;
}

} // namespace corun
