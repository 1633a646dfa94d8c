// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/image.h"

#include "co_routine/base/raw_sys.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace corun::waist {
namespace {

constexpr uintptr_t page = 4096;
constexpr uintptr_t page_down(uintptr_t a) { return a & ~(page - 1); }
constexpr uintptr_t page_up(uintptr_t a) { return page_down(a + page - 1); }

// Reads T at an address of the image. False: no segment holds it.
template <class T> bool load(const image &img, uintptr_t address, T *out) {
    if (!segment_of(img, address, sizeof(T)))
        return false;
    __builtin_memcpy(out, reinterpret_cast<const void *>(address), sizeof(T));
    return true;
}

// ld.so adds the bias to the addresses in most objects' dynamic sections, and not to those of an
// object that it has only just mapped.
uintptr_t dynamic_value(const image &img, Elf64_Sxword tag) {
    Elf64_Dyn entry;
    for (uintptr_t at = img.dynamic; at && load(img, at, &entry) && entry.d_tag != DT_NULL;
         at += sizeof entry) {
        if (entry.d_tag != tag)
            continue;
        uintptr_t value = entry.d_un.d_ptr;
        if (segment_of(img, value, 1))
            return value;
        return segment_of(img, value + img.bias, 1) ? value + img.bias : 0;
    }
    return 0;
}

// ---- Symbols ------------------------------------------------------------------------------------

// DT_GNU_HASH counts nothing: the last symbol is the end of the chain of the highest bucket.
size_t gnu_hash_symbols(const image &img, uintptr_t table) {
    uint32_t head[4]; // buckets, first symbol hashed, words of the filter, its shift
    if (!load(img, table, &head))
        return 0;
    uintptr_t buckets = table + sizeof head + head[2] * sizeof(uint64_t);
    uintptr_t chains = buckets + head[0] * sizeof(uint32_t);
    uint32_t last = 0;
    for (uint32_t i = 0; i < head[0]; ++i) {
        uint32_t symbol;
        if (!load(img, buckets + i * sizeof symbol, &symbol))
            return 0;
        if (symbol > last)
            last = symbol;
    }
    if (last < head[1])
        return head[1];
    uint32_t hash = 0;
    while (load(img, chains + (last - head[1]) * sizeof hash, &hash) && !(hash & 1))
        ++last;
    return last + 1;
}

size_t symbol_count(const image &img) {
    uint32_t head[2]; // buckets, symbols
    uintptr_t table = dynamic_value(img, DT_HASH);
    if (table && load(img, table, &head))
        return head[1];
    table = dynamic_value(img, DT_GNU_HASH);
    return table ? gnu_hash_symbols(img, table) : 0;
}

bool is_function(const Elf64_Sym &symbol) {
    unsigned type = ELF64_ST_TYPE(symbol.st_info);
    return type == STT_FUNC || type == STT_GNU_IFUNC;
}

// The function symbol nearest at or below pc.
bool nearest_symbol(const image &img, uintptr_t pc, Elf64_Sym *out) {
    uintptr_t table = dynamic_value(img, DT_SYMTAB);
    size_t count = table ? symbol_count(img) : 0;
    uintptr_t best = 0;
    for (size_t i = 1; i < count; ++i) {
        Elf64_Sym symbol;
        if (!load(img, table + i * sizeof symbol, &symbol))
            break;
        uintptr_t start = symbol.st_value + img.bias;
        if (symbol.st_shndx == SHN_UNDEF || !is_function(symbol) || start > pc || start < best)
            continue;
        // Of two names at one place the longer stretch: an alias may have no size.
        if (start == best && symbol.st_size <= out->st_size)
            continue;
        best = start;
        *out = symbol;
    }
    return best != 0;
}

// ---- .eh_frame ----------------------------------------------------------------------------------

bool skip_leb128(const image &img, uintptr_t *at) {
    uint8_t byte;
    do
        if (!load(img, (*at)++, &byte))
            return false;
    while (byte & 0x80);
    return true;
}

constexpr uint8_t encoded_pcrel_sdata4 = 0x1b;
constexpr uint8_t encoded_datarel_sdata4 = 0x3b;
constexpr uint8_t encoded_udata4 = 0x03;

// The bytes that a pointer in the given encoding takes, 0: unknown or of variable length.
unsigned encoded_bytes(uint8_t encoding) {
    switch (encoding & 0x0f) {
    case 0x00: // absolute
    case 0x04: // udata8
    case 0x0c: // sdata8
        return 8;
    case 0x02: // udata2
    case 0x0a: // sdata2
        return 2;
    case 0x03: // udata4
    case 0x0b: // sdata4
        return 4;
    }
    return 0;
}

// How the CIE's FDEs encode addresses: the byte of 'R' in its augmentation. 0: not found.
uint8_t pointer_encoding(const image &img, uintptr_t cie) {
    uint8_t version, letter;
    uintptr_t text = cie + 9;
    if (!load(img, cie + 8, &version) || !load(img, text, &letter) || letter != 'z')
        return 0;
    uintptr_t at = text;
    do
        if (!load(img, at++, &letter))
            return 0;
    while (letter);
    // The alignment factors, the return address's register and the length of what we look for.
    if (!skip_leb128(img, &at) || !skip_leb128(img, &at))
        return 0;
    if (version == 1)
        ++at;
    else if (!skip_leb128(img, &at))
        return 0;
    if (!skip_leb128(img, &at))
        return 0;
    for (uintptr_t l = text + 1; load(img, l, &letter) && letter; ++l) {
        uint8_t encoding;
        if (letter == 'S' || letter == 'B')
            continue;
        if (!load(img, at++, &encoding))
            return 0;
        if (letter == 'R')
            return encoding;
        if (letter == 'P')
            at += encoded_bytes(encoding);
        else if (letter != 'L')
            return 0;
    }
    return 0;
}

// The range of one FDE. Compilers for x86_64 write the one encoding that is read here.
bool fde_range(const image &img, uintptr_t fde, code_range *out) {
    uint32_t head[2]; // length, distance back to the CIE
    int32_t start;
    uint32_t bytes;
    if (!load(img, fde, &head) || head[0] == 0 || head[0] == UINT32_MAX || head[1] == 0 ||
        pointer_encoding(img, fde + 4 - head[1]) != encoded_pcrel_sdata4 ||
        !load(img, fde + 8, &start) || !load(img, fde + 12, &bytes))
        return false;
    out->start = fde + 8 + static_cast<intptr_t>(start);
    out->end = out->start + bytes;
    return true;
}

} // namespace

const image_segment *segment_of(const image &img, uintptr_t start, size_t bytes) {
    for (size_t i = 0; i < img.segment_count; ++i) {
        const image_segment &s = img.segments[i];
        if (start >= s.start && start < s.end && bytes <= s.end - start)
            return &s;
    }
    return nullptr;
}

bool unwind_range(const image &img, uintptr_t pc, code_range *out) {
    uint8_t head[4]; // version, encodings: of the pointer to .eh_frame, of the count, of the table
    uint32_t count;
    if (!img.frame_index || !load(img, img.frame_index, &head) || head[0] != 1 ||
        encoded_bytes(head[1]) != 4 || head[2] != encoded_udata4 ||
        head[3] != encoded_datarel_sdata4 || !load(img, img.frame_index + 8, &count))
        return false;
    uintptr_t table = img.frame_index + 12;
    size_t low = 0, high = count;
    int32_t entry[2]; // the function's start and its FDE, from frame_index
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (!load(img, table + middle * sizeof entry, &entry))
            return false;
        if (img.frame_index + static_cast<intptr_t>(entry[0]) <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || !load(img, table + (low - 1) * sizeof entry, &entry))
        return false;
    if (!fde_range(img, img.frame_index + static_cast<intptr_t>(entry[1]), out) || pc > out->end)
        return false;
    const image_segment *s = segment_of(img, out->start, 1);
    if (s && pc == out->end)
        out->end = low < count && load(img, table + low * sizeof entry, &entry)
                       ? img.frame_index + static_cast<intptr_t>(entry[0])
                       : s->end;
    return s && pc >= out->start && pc < out->end && out->end <= s->end;
}

bool symbol_range(const image &img, uintptr_t pc, code_range *out) {
    Elf64_Sym symbol = {};
    if (!nearest_symbol(img, pc, &symbol))
        return false;
    out->start = symbol.st_value + img.bias;
    out->end = out->start + symbol.st_size;
    return pc < out->end && segment_of(img, out->start, symbol.st_size);
}

const char *symbol_name(const image &img, uintptr_t pc, uintptr_t *distance) {
    Elf64_Sym symbol = {};
    uintptr_t strings = dynamic_value(img, DT_STRTAB);
    if (!strings || !nearest_symbol(img, pc, &symbol) ||
        !segment_of(img, strings + symbol.st_name, 1))
        return nullptr;
    *distance = pc - (symbol.st_value + img.bias);
    return reinterpret_cast<const char *>(strings + symbol.st_name);
}

void each_function(const image &img, void (*see)(uintptr_t start, void *data), void *data) {
    uintptr_t table = dynamic_value(img, DT_SYMTAB);
    size_t count = table ? symbol_count(img) : 0;
    for (size_t i = 1; i < count; ++i) {
        Elf64_Sym symbol;
        if (!load(img, table + i * sizeof symbol, &symbol))
            break;
        if (symbol.st_shndx != SHN_UNDEF && is_function(symbol))
            see(symbol.st_value + img.bias, data);
    }
}

bool image_from_headers(image *out, const char *name, uintptr_t bias, const Elf64_Phdr *headers,
                        size_t count) {
    *out = {};
    out->name = name;
    out->bias = bias;
    for (size_t i = 0; i < count; ++i) {
        const Elf64_Phdr &h = headers[i];
        uintptr_t start = bias + h.p_vaddr;
        if (h.p_type == PT_GNU_EH_FRAME)
            out->frame_index = start;
        else if (h.p_type == PT_DYNAMIC)
            out->dynamic = start;
        if (h.p_type != PT_LOAD || !(h.p_flags & PF_R) || h.p_filesz == 0)
            continue;
        if (out->segment_count == image::max_segments)
            return false;
        out->segments[out->segment_count++] = {start, start + h.p_filesz, (h.p_flags & PF_X) != 0,
                                               (h.p_flags & PF_W) != 0};
    }
    return true;
}

namespace {

bool is_ours(const Elf64_Ehdr &e) {
    return e.e_ident[EI_MAG0] == ELFMAG0 && e.e_ident[EI_MAG1] == ELFMAG1 &&
           e.e_ident[EI_MAG2] == ELFMAG2 && e.e_ident[EI_MAG3] == ELFMAG3 &&
           e.e_ident[EI_CLASS] == ELFCLASS64 && e.e_machine == EM_X86_64 &&
           (e.e_type == ET_DYN || e.e_type == ET_EXEC) && e.e_phentsize == sizeof(Elf64_Phdr);
}

constexpr size_t max_headers = 64;

// The headers of a file, and the stretch of addresses that its segments span.
int read_headers(int fd, Elf64_Ehdr *elf, Elf64_Phdr *headers, code_range *span) {
    sys::word n = sys::call(SYS_pread64, fd, elf, sizeof *elf, 0);
    if (sys::failed(n))
        return static_cast<int>(n);
    if (n != sizeof *elf || !is_ours(*elf) || elf->e_phnum > max_headers)
        return -ENOEXEC;
    sys::word bytes = elf->e_phnum * static_cast<sys::word>(sizeof *headers);
    n = sys::call(SYS_pread64, fd, headers, bytes, elf->e_phoff);
    if (n != bytes)
        return sys::failed(n) ? static_cast<int>(n) : -ENOEXEC;
    *span = {UINTPTR_MAX, 0};
    for (size_t i = 0; i < elf->e_phnum; ++i) {
        const Elf64_Phdr &h = headers[i];
        if (h.p_type != PT_LOAD || h.p_filesz == 0)
            continue;
        if (page_down(h.p_vaddr) < span->start)
            span->start = page_down(h.p_vaddr);
        if (page_up(h.p_vaddr + h.p_filesz) > span->end)
            span->end = page_up(h.p_vaddr + h.p_filesz);
    }
    return span->start < span->end && span->end < (1ul << 40) ? 0 : -ENOEXEC;
}

int lay_out(int fd, uintptr_t bias, const Elf64_Phdr *headers, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const Elf64_Phdr &h = headers[i];
        if (h.p_type != PT_LOAD || h.p_filesz == 0)
            continue;
        uintptr_t slack = h.p_vaddr % page;
        if (h.p_offset < slack)
            return -ENOEXEC;
        sys::word r = sys::call(SYS_mmap, bias + h.p_vaddr - slack, h.p_filesz + slack, PROT_READ,
                                MAP_PRIVATE | MAP_FIXED, fd, h.p_offset - slack);
        if (sys::failed(r))
            return r == -EINVAL ? -ENOEXEC : static_cast<int>(r);
    }
    return 0;
}

} // namespace

int image_from_memory(image *out, const char *name, const void *elf_header) {
    Elf64_Ehdr elf;
    __builtin_memcpy(&elf, elf_header, sizeof elf);
    if (!is_ours(elf))
        return -ENOEXEC;
    uintptr_t base = reinterpret_cast<uintptr_t>(elf_header);
    const auto *headers = reinterpret_cast<const Elf64_Phdr *>(base + elf.e_phoff);
    uintptr_t first = UINTPTR_MAX;
    for (size_t i = 0; i < elf.e_phnum; ++i)
        if (headers[i].p_type == PT_LOAD && page_down(headers[i].p_vaddr) < first)
            first = page_down(headers[i].p_vaddr);
    if (first == UINTPTR_MAX)
        return -ENOEXEC;
    return image_from_headers(out, name, base - first, headers, elf.e_phnum) ? 0 : -ENOEXEC;
}

int image_from_file(image *out, const char *path) {
    *out = {};
    sys::word fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return static_cast<int>(fd);
    Elf64_Ehdr elf;
    Elf64_Phdr headers[max_headers];
    code_range span = {};
    struct stat status;
    sys::word r = read_headers(static_cast<int>(fd), &elf, headers, &span);
    // A page that is mapped beyond the end of the file is a SIGBUS to whoever reads it.
    if (!r)
        r = sys::call(SYS_fstat, fd, &status);
    for (size_t i = 0; !r && i < elf.e_phnum; ++i)
        if (headers[i].p_type == PT_LOAD &&
            headers[i].p_offset + headers[i].p_filesz > static_cast<uint64_t>(status.st_size))
            r = -ENOEXEC;
    sys::word start = r ? r : sys::mmap_anonymous(span.end - span.start, PROT_NONE, 0);
    if (!r && !sys::failed(start)) {
        uintptr_t bias = static_cast<uintptr_t>(start) - span.start;
        r = lay_out(static_cast<int>(fd), bias, headers, elf.e_phnum);
        if (!r && !image_from_headers(out, path, bias, headers, elf.e_phnum))
            r = -ENOEXEC;
        out->mapped = static_cast<uintptr_t>(start);
        out->mapped_bytes = span.end - span.start;
        if (r)
            image_unmap(out);
    } else if (!r) {
        r = start;
    }
    sys::close(static_cast<int>(fd));
    return static_cast<int>(r);
}

void image_unmap(image *img) {
    if (img->mapped)
        sys::munmap(reinterpret_cast<void *>(img->mapped), img->mapped_bytes);
    *img = {};
}

} // namespace corun::waist
