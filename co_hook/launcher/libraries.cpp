// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/libraries.h"

#include "co_hook/launcher/text.h"

#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr size_t most_libraries = 1024; // more than any program has
constexpr char default_directories[] =
    "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:/lib:/usr/lib";

// /etc/ld.so.cache, the format that glibc has written since 2.2.
struct cache_header {
    char magic[20]; // "glibc-ld.so.cache1.1"
    uint32_t count, strings_bytes;
    uint32_t unused[5];
};
struct cache_entry {
    int32_t flags;
    uint32_t name, path; // offsets from the header
    uint32_t os_version;
    uint64_t hwcap; // not 0: a variant for some processors
};
static_assert(sizeof(cache_header) == 48 && sizeof(cache_entry) == 24);
constexpr int32_t x86_64_libc6 = 0x0303;

// The first requester whose search path finds it decides, as in ld.so, where all share one namespace.
struct requester {
    const elf_file *elf;
    const char *path;
};

const char *in_cache(const char *name) {
    static const char *bytes;
    static size_t size;
    static bool tried;
    if (!tried) {
        tried = true;
        int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
        struct stat about;
        if (fd >= 0 && fstat(fd, &about) == 0 && about.st_size > 0) {
            void *mapped =
                mmap(nullptr, static_cast<size_t>(about.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
            if (mapped != MAP_FAILED) {
                bytes = static_cast<const char *>(mapped);
                size = static_cast<size_t>(about.st_size);
            }
        }
        if (fd >= 0)
            close(fd);
    }
    const auto *h = reinterpret_cast<const cache_header *>(bytes);
    if (size < sizeof *h || memcmp(h->magic, "glibc-ld.so.cache1.1", sizeof h->magic) != 0 ||
        h->count > (size - sizeof *h) / sizeof(cache_entry))
        return nullptr;
    auto string = [](uint32_t offset) -> const char * {
        bool whole = offset < size && memchr(bytes + offset, '\0', size - offset) != nullptr;
        return whole ? bytes + offset : nullptr;
    };
    const auto *entries = reinterpret_cast<const cache_entry *>(h + 1);
    for (uint32_t i = 0; i < h->count; i++) {
        const char *found = string(entries[i].name);
        if (entries[i].flags == x86_64_libc6 && entries[i].hwcap == 0 && found != nullptr &&
            same(found, name))
            return string(entries[i].path);
    }
    return nullptr;
}

// $ORIGIN is the directory of the file that asks; $LIB and $PLATFORM nobody uses in this.
char *expanded(const char *directory, const char *requester_path) {
    static const char *const origins[] = {"$ORIGIN", "${ORIGIN}"};
    for (const char *origin : origins) {
        const char *at = strstr(directory, origin);
        char real[PATH_MAX];
        if (at == nullptr || realpath(requester_path, real) == nullptr)
            continue;
        *strrchr(real, '/') = '\0';
        return text("%.*s%s%s", static_cast<int>(at - directory), directory, real,
                    at + strlen(origin));
    }
    return text("%s", directory);
}

bool in_directories(const char *list, const char *name, const requester &by, library *out) {
    while (char *directory = next_part(&list, ":;")) {
        const char *where = expanded(directory, by.path);
        char *path = text("%s/%s", *where == '\0' ? "." : where, name);
        if (open_elf(path, &out->elf)) {
            out->path = path;
            return true;
        }
    }
    return false;
}

// ld.so's order.
void find(const char *name, const requester &by, library *out) {
    *out = {name, nullptr, {}};
    if (strchr(name, '/') != nullptr) {
        if (open_elf(name, &out->elf))
            out->path = name;
        return;
    }
    if (by.elf->runpath == nullptr && by.elf->rpath != nullptr &&
        in_directories(by.elf->rpath, name, by, out))
        return;
    const char *chosen = getenv("LD_LIBRARY_PATH");
    if (chosen != nullptr && *chosen != '\0' && in_directories(chosen, name, by, out))
        return;
    if (by.elf->runpath != nullptr && in_directories(by.elf->runpath, name, by, out))
        return;
    const char *cached = in_cache(name);
    if (cached != nullptr && open_elf(cached, &out->elf)) {
        out->path = cached;
        return;
    }
    in_directories(default_directories, name, by, out);
}

} // namespace

const library *library_list::find(const char *name) const {
    for (size_t i = 0; i < count; i++)
        if (same(items[i].name, name))
            return &items[i];
    return nullptr;
}

library_list libraries_of(const elf_file &program, const char *path) {
    library_list list;
    list.items = static_cast<library *>(memory(most_libraries * sizeof(library)));
    requester by = {&program, path};
    // Breadth first, as ld.so: items[done] asks next.
    for (size_t done = 0;; done++) {
        for (size_t i = 0; const char *name = by.elf->good() ? by.elf->needed(i) : nullptr; i++)
            if (list.count < most_libraries && list.find(name) == nullptr)
                find(name, by, &list.items[list.count++]);
        if (done == list.count)
            return list;
        by = {&list.items[done].elf, list.items[done].path};
    }
}

const char *libc_version(const elf_file &libc) {
    static const char *const banners[] = {" release version ", " version "};
    const void *c = memmem(libc.bytes, libc.size, "GNU C Library (", sizeof "GNU C Library (" - 1);
    if (c == nullptr)
        return nullptr;
    const char *line =
        libc.string_at(static_cast<size_t>(static_cast<const unsigned char *>(c) - libc.bytes));
    for (const char *banner : banners) {
        const char *at = line == nullptr ? nullptr : strstr(line, banner);
        if (at == nullptr)
            continue;
        at += strlen(banner);
        size_t length = strspn(at, "0123456789.");
        while (length > 0 && at[length - 1] == '.')
            length--;
        if (length > 0)
            return text_of(at, length);
    }
    return nullptr;
}

} // namespace corun::launcher
