// SPDX-License-Identifier: Apache-2.0
// Every hook there is. co_enable_hook_sys refers to it, so that an archive keeps them all.
#pragma once

namespace corun::symbols {

// Says once, loudly, if a name of libc's leads elsewhere than to us: then the program's calls block
// the thread. (The order on the link line or in LD_PRELOAD decides: libcorun before libc.)
void check_hooks_once();

} // namespace corun::symbols
