// SPDX-License-Identifier: Apache-2.0
// The descriptors that a message carries to another process (SCM_RIGHTS, unix(7)). Of a message that the kernel
// has taken or filled in.
#pragma once

#include <cstring>
#include <sys/socket.h>

namespace corun::calls {

template <class F> void each_passed(const msghdr *message, F f) {
    for (cmsghdr *c = CMSG_FIRSTHDR(message); c;
         c = CMSG_NXTHDR(const_cast<msghdr *>(message), c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            f(fd);
        }
    }
}

} // namespace corun::calls
