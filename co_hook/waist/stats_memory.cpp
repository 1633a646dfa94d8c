// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/stats_memory.h"

#include "co_routine/base/raw_sys.h"
#include "co_routine/stack/private_stack.h"

#include <cstring>
#include <fcntl.h>

namespace corun::waist {
namespace {

size_t number_behind(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (!at)
        return 0;
    at += strlen(name);
    while (*at == ' ' || *at == '\t')
        ++at;
    size_t n = 0;
    for (; *at >= '0' && *at <= '9'; ++at)
        n = n * 10 + static_cast<size_t>(*at - '0');
    return n;
}

// Bytes of the page that are above its first one that is not zero. It may be a guard, or go away: the
// kernel looks.
size_t used_of_page(uintptr_t page) {
    uint64_t words[64];
    for (size_t at = 0; at < page_size; at += sizeof words) {
        iovec local{words, sizeof words}, remote{reinterpret_cast<void *>(page + at), sizeof words};
        sys::word n = sys::call(SYS_process_vm_readv, sys::getpid(), &local, 1, &remote, 1, 0);
        if (n != sizeof words)
            return 0;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i)
            if (words[i] != 0)
                return page_size - at - i * sizeof words[0];
    }
    return 0;
}

} // namespace

memory_use memory_now() {
    sys::word fd = sys::call(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return {};
    char text[2048]; // what is asked for stands in the first 1,200 bytes
    sys::word n = sys::read(static_cast<int>(fd), text, sizeof text - 1);
    sys::close(static_cast<int>(fd));
    text[n > 0 ? n : 0] = '\0';
    return {number_behind(text, "\nVmRSS:"), number_behind(text, "\nVmHWM:"),
            number_behind(text, "\nVmPTE:")};
}

size_t stack_used(uintptr_t low, uintptr_t high) {
    constexpr size_t pages_at_once = 256;
    unsigned char resident[pages_at_once];
    low = (low + page_size - 1) & ~uintptr_t{page_size - 1};
    for (uintptr_t at = low; at < high;) {
        size_t pages = (high - at + page_size - 1) / page_size;
        if (pages > pages_at_once)
            pages = pages_at_once;
        if (sys::failed(sys::call(SYS_mincore, at, pages * page_size, resident)))
            return 0;
        for (size_t i = 0; i < pages; ++i, at += page_size) {
            size_t used = resident[i] & 1 ? used_of_page(at) : 0;
            if (used > 0)
                return at + page_size > high ? high - at : high - (at + page_size - used);
        }
    }
    return 0;
}

} // namespace corun::waist
