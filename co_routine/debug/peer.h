// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of a descriptor.
#pragma once

namespace corun {

// "10.0.0.1:5000", "[::1]:80", "/run/socket", "listening on 0.0.0.0:80"; nothing for what is no socket or
// is not connected. Returns the length.
unsigned format_peer(char *out, unsigned size, int fd);

} // namespace corun
