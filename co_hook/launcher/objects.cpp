// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/objects.h"

#include "co_hook/launcher/text.h"

#include "co_routine/debug/symbol_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

struct object {
    remote_code code;
    const char *path;
    bool is_sought, has_names; // the file
    symbol_file *file;
};
constexpr size_t most_objects = 4096;
object objects[most_objects]; // by their addresses, as /proc/PID/maps has them
size_t count;

object *object_at(uintptr_t pc) {
    object *end = objects + count;
    object *next = std::upper_bound(objects, end, pc,
                                    [](uintptr_t at, const object &o) { return at < o.code.low; });
    return next != objects && pc < next[-1].code.high ? next - 1 : nullptr;
}

bool read_at(const attached &p, uintptr_t at, void *to, size_t bytes) {
    return read_memory(p, reinterpret_cast<const void *>(at), to, bytes);
}

// By its own headers in memory. False: none that make sense.
bool read_headers(const attached &p, uintptr_t start, remote_code *out) {
    constexpr size_t most_segments = 64, largest = size_t{1} << 40;
    Elf64_Ehdr header;
    Elf64_Phdr segments[most_segments];
    if (!read_at(p, start, &header, sizeof header) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr) ||
        header.e_phnum == 0 || header.e_phnum > most_segments || header.e_phoff > page_size ||
        !read_at(p, start + header.e_phoff, segments, header.e_phnum * sizeof *segments))
        return false;
    uintptr_t first = UINTPTR_MAX, end = 0;
    const Elf64_Phdr *unwinding = nullptr;
    for (size_t i = 0; i < header.e_phnum; i++) {
        const Elf64_Phdr &s = segments[i];
        if (s.p_type == PT_GNU_EH_FRAME)
            unwinding = &s;
        if (s.p_type != PT_LOAD || s.p_memsz > largest || s.p_vaddr > UINTPTR_MAX - largest)
            continue;
        first = std::min(first, uintptr_t{s.p_vaddr} & ~(page_size - 1));
        end = std::max(end, uintptr_t{s.p_vaddr + s.p_memsz});
    }
    if (end <= first || end - first > largest || start > UINTPTR_MAX - largest)
        return false;
    *out = {start, start + (end - first), 0, {}};
    if (unwinding == nullptr)
        return true;
    uintptr_t at = start - first + unwinding->p_vaddr;
    if (at >= out->low && at < out->high && read_at(p, at, &out->header, sizeof out->header))
        out->header_at = at;
    return true;
}

// Objects that overlap another one are left out: what is mapped twice from the file's beginning is one.
void note(const attached &p, uintptr_t low, const char *path) {
    remote_code code;
    if (count == most_objects || (count > 0 && low < objects[count - 1].code.high) ||
        !read_headers(p, low, &code))
        return;
    objects[count++] = {code, path, false, false, nullptr};
}

// If it is still the one that was mapped.
void open_names(const attached &p, object *o) {
    char mapped[1024] = {};
    o->is_sought = true;
    o->file = new (memory(sizeof(symbol_file))) symbol_file;
    size_t bytes = std::min(sizeof mapped, size_t{o->code.high - o->code.low});
    const file_of file(p.pid, o->path); // of no path: "[vdso]" is none in /
    o->has_names = read_at(p, o->code.low, mapped, bytes) && o->file->open(file.path()) &&
                   o->file->begins_as(mapped);
}

} // namespace

void read_objects(const attached &p) {
    FILE *maps = fopen(text("/proc/%d/maps", p.pid), "re");
    if (maps == nullptr)
        fail(exit_cannot, "process %d: %s", p.pid,
             errno == ENOENT ? "it is gone" : strerror(errno));
    char *line = nullptr;
    size_t room = 0;
    while (getline(&line, &room, maps) > 0) {
        unsigned long low, offset;
        int path = 0;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%lx-%*x %*s %lx %*s %*s %n", &low, &offset, &path) == 2 && offset == 0 &&
            path > 0 && line[path] != '\0')
            note(p, low, text("%s", line + path));
    }
    free(line);
    fclose(maps);
}

bool code_at(uintptr_t pc, remote_code *out) {
    const object *o = object_at(pc);
    if (o == nullptr || o->code.header_at == 0)
        return false;
    *out = o->code;
    return true;
}

bool read_code(const attached &p, uintptr_t at, uintptr_t *out) {
    constexpr size_t most_pages = 1024;
    static struct {
        uintptr_t address; // 0: none
        unsigned char bytes[page_size];
    } pages[most_pages];
    uintptr_t page = at & ~(page_size - 1);
    if (page == 0 || at - page > page_size - sizeof *out || object_at(at) == nullptr)
        return read_at(p, at, out, sizeof *out);
    auto &kept = pages[page / page_size % most_pages];
    if (kept.address != page && !read_at(p, page, kept.bytes, page_size)) {
        kept.address = 0;
        return false;
    }
    kept.address = page;
    memcpy(out, kept.bytes + (at - page), sizeof *out);
    return true;
}

const char *name_of_code(const attached &p, uintptr_t pc, bool is_exact) {
    // A table of symbols is looked through from its beginning, and threads wait in few places.
    constexpr size_t most_names = 4096;
    static struct {
        uintptr_t pc;
        bool is_exact;
        char *name;
    } names[most_names];
    auto &kept = names[(pc ^ pc >> 12) % most_names];
    if (kept.pc == pc && kept.is_exact == is_exact && kept.name != nullptr)
        return kept.name;
    uintptr_t inside = is_exact ? pc : pc - 1, distance = 0;
    object *o = object_at(inside);
    if (o == nullptr)
        return "";
    if (!o->is_sought)
        open_names(p, o);
    const char *function =
        o->has_names ? o->file->name_of(inside - o->code.low, &distance) : nullptr;
    uintptr_t in_file = pc - o->code.low, in_function = distance + (pc - inside);
    free(kept.name);
    kept = {pc, is_exact,
            function == nullptr
                ? text("%s+0x%zx", o->path, in_file)
                : text("%s+0x%zx (%s+0x%zx)", function, in_function, o->path, in_file)};
    return printable(kept.name);
}

} // namespace corun::launcher
