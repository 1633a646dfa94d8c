// SPDX-License-Identifier: Apache-2.0
// sendfile, splice and their kin.
#include "co_hook/calls/copy.h"
#include "co_hook/symbols/hook.h"

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_COPY;

#if defined(__i386__)
// off_t is 32 bits here.
word sendfile_narrow(int out, int in, off_t *offset, size_t n) {
    int64_t wide = offset ? *offset : 0;
    word r = calls::sendfile(out, in, offset ? &wide : nullptr, n);
    if (offset)
        *offset = static_cast<off_t>(wide);
    return r;
}
#endif

} // namespace

#if defined(__i386__)
CORUN_HOOK(ssize_t, sendfile, (int out, int in, off_t *offset, size_t n), (out, in, offset, n),
           sys::call(SYS_sendfile, out, in, offset, n), sendfile_narrow(out, in, offset, n))
CORUN_HOOK(ssize_t, sendfile64, (int out, int in, int64_t *offset, size_t n), (out, in, offset, n),
           sys::call(SYS_sendfile64, out, in, offset, n), calls::sendfile(out, in, offset, n))
#else
CORUN_HOOK(ssize_t, sendfile, (int out, int in, int64_t *offset, size_t n), (out, in, offset, n),
           sys::call(SYS_sendfile, out, in, offset, n), calls::sendfile(out, in, offset, n))
CORUN_HOOK_ALIAS(ssize_t, sendfile64, sendfile, (int, int, int64_t *, size_t));
#endif
CORUN_HOOK(ssize_t, splice, (int in, int64_t *i, int out, int64_t *o, size_t n, unsigned flags),
           (in, i, out, o, n, flags), sys::call(SYS_splice, in, i, out, o, n, flags),
           calls::splice(in, i, out, o, n, flags))
CORUN_HOOK(ssize_t, tee, (int in, int out, size_t n, unsigned flags), (in, out, n, flags),
           sys::call(SYS_tee, in, out, n, flags), calls::tee(in, out, n, flags))
CORUN_HOOK(ssize_t, vmsplice, (int pipe, const iovec *parts, size_t count, unsigned flags),
           (pipe, parts, count, flags), sys::call(SYS_vmsplice, pipe, parts, count, flags),
           calls::vmsplice(pipe, parts, count, flags))
CORUN_HOOK(ssize_t, copy_file_range,
           (int in, int64_t *i, int out, int64_t *o, size_t n, unsigned flags),
           (in, i, out, o, n, flags), sys::call(SYS_copy_file_range, in, i, out, o, n, flags),
           calls::copy_file_range(in, i, out, o, n, flags))

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(sendfile, E),   CORUN_ENTRY(splice, E),          CORUN_ENTRY(tee, E),
    CORUN_ENTRY(vmsplice, E),   CORUN_ENTRY(copy_file_range, O),
#if defined(__i386__)
    CORUN_ENTRY(sendfile64, E),
#else
    CORUN_ALIAS_ENTRY(sendfile64, E),
#endif
};

} // namespace

CORUN_TABLE(copy_table, entries);

} // namespace corun::symbols
