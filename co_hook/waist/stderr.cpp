// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/stderr.h"

#include "co_routine/base/raw_sys.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace corun::waist {
namespace {

struct stat at_start;
bool was_there;

} // namespace

void note_stderr() { was_there = sys::call(SYS_fstat, 2, &at_start) == 0; }

bool is_stderr() {
    struct stat s {};
    if (sys::failed(sys::call(SYS_fstat, 2, &s)))
        return false;
    sys::word mode = sys::fcntl(2, F_GETFL, 0) & O_ACCMODE;
    bool same = was_there && s.st_dev == at_start.st_dev && s.st_ino == at_start.st_ino;
    return same || S_ISCHR(s.st_mode) || (S_ISREG(s.st_mode) && mode == O_WRONLY);
}

} // namespace corun::waist
