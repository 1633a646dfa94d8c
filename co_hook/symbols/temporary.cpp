// SPDX-License-Identifier: Apache-2.0
// Temporary files and directories, whose names libc makes up; and special files.
#include "co_hook/symbols/file_call.h"

#include "co_hook/calls/transfer.h"

#include <cstdlib>
#include <sys/stat.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_FILES;

// Where libc's own cannot be found (-static): six characters by chance. make(): 0 or more, or -errno.
template <class F> word with_a_new_name(char *text, int suffix, F make) {
    constexpr char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    constexpr size_t xs = 6;
    constexpr int tries = 100;
    size_t length = strlen(text);
    if (suffix < 0 || length < xs + static_cast<size_t>(suffix))
        return -EINVAL;
    char *at = text + length - static_cast<size_t>(suffix) - xs;
    if (memcmp(at, "XXXXXX", xs) != 0)
        return -EINVAL;
    word r = -EEXIST;
    for (int i = 0; i < tries && r == -EEXIST; ++i) {
        unsigned char chance[xs] = {};
        sys::call(SYS_getrandom, chance, xs, 0);
        for (size_t k = 0; k < xs; ++k)
            at[k] = letters[chance[k] % (sizeof letters - 1)];
        r = make();
    }
    return r;
}

word raw_temporary(char *text, int suffix, int flags) {
    constexpr int always = O_RDWR | O_CREAT | O_EXCL | O_LARGEFILE;
    return with_a_new_name(text, suffix, [=] {
        return sys::call(SYS_openat, AT_FDCWD, text, (flags & ~O_ACCMODE) | always, 0600);
    });
}
word raw_directory(char *text) {
    return with_a_new_name(text, 0, [=] { return sys::call(SYS_mkdir, text, 0700); });
}

struct made_name {
    char text[PATH_MAX];
};

// f(text) on a helper: makes something under a name that it writes there.
template <class F>
word under_new_name(const wait_kind &kind, char *text, F f, offload_late on_late) {
    calls::pool_block block(sizeof(made_name));
    auto *name = reinterpret_cast<made_name *>(block.data());
    int bytes = calls::path_bytes(text);
    if (bytes < 0)
        return bytes;
    if (!name)
        return -ENOMEM;
    memcpy(name->text, text, static_cast<size_t>(bytes));
    word r = libc_by_helper(
        kind, text, name, [f](const char *, made_name *n) { return f(n->text); }, on_late);
    if (!sys::failed(r))
        memcpy(text, name->text, static_cast<size_t>(bytes));
    return r;
}

int noted(int fd, int flags) {
    if (fd >= 0)
        calls::note_opened(fd, (flags & ~O_ACCMODE) | O_RDWR);
    return fd;
}

} // namespace

#define CORUN_TEMPORARY(name, parameters, arguments, of_text, suffix, flags)                       \
    CORUN_NATIVE(int, name, parameters, plain_result<int>(raw_temporary(text, suffix, flags)));    \
    int hook_##name parameters {                                                                   \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return noted(native_##name arguments, flags);                                          \
        return noted(                                                                              \
            to_libc<int>(under_new_name(                                                           \
                kind, text, [=](char *t) { return native_##name of_text; }, close_late_result)),   \
            flags);                                                                                \
    }
#define CORUN_MKSTEMP(name) CORUN_TEMPORARY(name, (char *text), (text), (t), 0, 0)
#define CORUN_MKOSTEMP(name)                                                                       \
    CORUN_TEMPORARY(name, (char *text, int flags), (text, flags), (t, flags), 0, flags)
#define CORUN_MKSTEMPS(name)                                                                       \
    CORUN_TEMPORARY(name, (char *text, int suffix), (text, suffix), (t, suffix), suffix, 0)
#define CORUN_MKOSTEMPS(name)                                                                      \
    CORUN_TEMPORARY(name, (char *text, int suffix, int flags), (text, suffix, flags),              \
                    (t, suffix, flags), suffix, flags)

CORUN_MKSTEMP(mkstemp)
CORUN_MKSTEMP(mkstemp64)
CORUN_MKOSTEMP(mkostemp)
CORUN_MKOSTEMP(mkostemp64)
CORUN_MKSTEMPS(mkstemps)
CORUN_MKSTEMPS(mkstemps64)
CORUN_MKOSTEMPS(mkostemps)
CORUN_MKOSTEMPS(mkostemps64)

namespace {
char *text_or_null(char *text, word r) {
    return sys::failed(r) ? (plain_result<int>(r), static_cast<char *>(nullptr)) : text;
}
} // namespace
CORUN_NATIVE(char *, mkdtemp, (char *text), text_or_null(text, raw_directory(text)));
char *hook_mkdtemp(char *text) {
    static constexpr wait_kind kind{"mkdtemp", false, nullptr};
    if (!hooks_are_on(family))
        return native_mkdtemp(text);
    word r = under_new_name(
        kind, text, [](char *t) { return native_mkdtemp(t) ? 0 : -1; }, nullptr);
    return to_libc<int>(r) == 0 ? text : nullptr;
}

// ---- Special files

#define CORUN_MKNOD(name, parameters, arguments, ...)                                              \
    static constexpr wait_kind name##_kind{#name, false, nullptr};                                 \
    static word make_##name parameters {                                                           \
        auto kernels = static_cast<unsigned>(device);                                              \
        if (kernels != device)                                                                     \
            return -EINVAL;                                                                        \
        const calls::file_call c{.kind = name##_kind, __VA_ARGS__};                                \
        return hooks_are_on(family) ? calls::by_helper(c) : calls::in_place(c);                    \
    }                                                                                              \
    CORUN_HOOK(int, name, parameters, arguments, make_##name arguments, make_##name arguments)
CORUN_MKNOD(mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device),
            .nr = SYS_mknod, .args = {WORD(path), WORD(mode), WORD(kernels)}, .path = 0)
CORUN_MKNOD(mknodat, (int dirfd, const char *path, mode_t mode, dev_t device),
            (dirfd, path, mode, device), .nr = SYS_mknodat,
            .args = {dirfd, WORD(path), WORD(mode), WORD(kernels)}, .path = 1)

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(mkstemp, O),    CORUN_ENTRY(mkstemp64, O),   CORUN_ENTRY(mkostemp, O),
    CORUN_ENTRY(mkostemp64, O), CORUN_ENTRY(mkstemps, O),    CORUN_ENTRY(mkstemps64, O),
    CORUN_ENTRY(mkostemps, O),  CORUN_ENTRY(mkostemps64, O), CORUN_ENTRY(mkdtemp, O),
    CORUN_ENTRY(mknod, O),      CORUN_ENTRY(mknodat, O),
};

} // namespace

CORUN_TABLE(temporary_table, entries);

} // namespace corun::symbols
