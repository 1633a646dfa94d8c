// SPDX-License-Identifier: Apache-2.0
// The other ends of another process's sockets: its descriptors name inodes, /proc/PID/net has their addresses.
#include "co_hook/launcher/threads.h"

#include "co_hook/launcher/text.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace corun::launcher {

namespace {

struct socket_line {
    unsigned long inode;
    char peer[128];
};
struct {
    socket_line *lines;
    size_t count, room;
    bool are_new;
} sockets;

void note(unsigned long inode, const char *peer) {
    if (sockets.count == sockets.room) {
        size_t room = sockets.room == 0 ? 1024 : sockets.room * 2;
        void *more = realloc(sockets.lines, room * sizeof *sockets.lines);
        if (more == nullptr)
            return;
        sockets.lines = static_cast<socket_line *>(more);
        sockets.room = room;
    }
    socket_line &l = sockets.lines[sockets.count++];
    l.inode = inode;
    snprintf(l.peer, sizeof l.peer, "%s", peer == nullptr ? "" : peer);
}

// "0100007F:1F90": words of the machine's order, as hexadecimal numbers. nullptr: it is nothing of the kind.
const char *address_of(const char *hex, int family) {
    unsigned char bytes[16] = {};
    char shown[INET6_ADDRSTRLEN] = "";
    int words = family == AF_INET ? 1 : 4;
    unsigned port = 0;
    for (int i = 0; i < words; i++) {
        unsigned word;
        if (sscanf(hex + i * 8, "%8x", &word) != 1)
            return nullptr;
        memcpy(bytes + i * 4, &word, 4);
    }
    if (sscanf(hex + words * 8, ":%x", &port) != 1)
        return nullptr;
    static const unsigned char of_v4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (family == AF_INET6 && memcmp(bytes, of_v4, sizeof of_v4) == 0) {
        inet_ntop(AF_INET, bytes + 12, shown, sizeof shown);
        return text("%s:%u", shown, port);
    }
    inet_ntop(family, bytes, shown, sizeof shown);
    return text(family == AF_INET ? "%s:%u" : "[%s]:%u", shown, port);
}

// By pages: for each read the kernel looks for where the last one ended.
FILE *open_table(const attached &p, const char *name) {
    static char buffer[size_t{64} << 10];
    FILE *f = fopen(text("/proc/%d/net/%s", p.pid, name), "re");
    if (f != nullptr)
        setvbuf(f, buffer, _IOFBF, sizeof buffer);
    return f;
}

// sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode
void read_internet(const attached &p, const char *name, int family) {
    FILE *f = open_table(p, name);
    char line[512], local[64], remote[64];
    unsigned state;
    unsigned long inode;
    while (f != nullptr && fgets(line, sizeof line, f) != nullptr) {
        if (sscanf(line, " %*[^:]: %63s %63s %x %*s %*s %*s %*s %*s %lu", local, remote, &state,
                   &inode) != 4)
            continue;
        sleep_at_times();
        constexpr unsigned listening = 0x0A, established = 0x01;
        bool is_tcp = begins(name, "tcp"), listens = is_tcp && state == listening;
        const char *address = address_of(listens ? local : remote, family);
        if (listens && address != nullptr)
            note(inode, text("listening on %s", address));
        else if (state == established || is_tcp)
            note(inode, address);
    }
    if (f != nullptr)
        fclose(f);
}

// Num: RefCount Protocol Flags Type St Inode Path; the path is that of the socket itself.
void read_local(const attached &p) {
    FILE *f = open_table(p, "unix");
    char line[512];
    unsigned flags;
    unsigned long inode;
    int path = 0;
    while (f != nullptr && fgets(line, sizeof line, f) != nullptr) {
        if (sscanf(line, "%*[^:]: %*x %*x %x %*x %*x %lu %n", &flags, &inode, &path) != 2)
            continue;
        line[strcspn(line, "\n")] = '\0';
        printable(line);
        constexpr unsigned accepts = 0x10000;
        note(inode, flags & accepts ? text("listening on %s", line + path) : "a local socket");
    }
    if (f != nullptr)
        fclose(f);
}

void read_all(const attached &p) {
    sockets.count = 0;
    read_internet(p, "tcp", AF_INET);
    read_internet(p, "tcp6", AF_INET6);
    read_internet(p, "udp", AF_INET);
    read_internet(p, "udp6", AF_INET6);
    read_local(p);
    std::sort(sockets.lines, sockets.lines + sockets.count,
              [](const socket_line &a, const socket_line &b) { return a.inode < b.inode; });
    sockets.are_new = true;
}

const socket_line *find(unsigned long inode) {
    const socket_line *end = sockets.lines + sockets.count;
    const socket_line *found =
        std::lower_bound(static_cast<const socket_line *>(sockets.lines), end, inode,
                         [](const socket_line &l, unsigned long i) { return l.inode < i; });
    return found != end && found->inode == inode ? found : nullptr;
}

} // namespace

void expect_new_peers() { sockets.are_new = false; }

const char *peer_of(const attached &p, int fd) {
    char target[64] = "", path[64];
    unsigned long inode = 0;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", p.pid, fd);
    sleep_at_times();
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0 || sscanf(target, "socket:[%lu]", &inode) != 1)
        return "";
    const socket_line *found = find(inode);
    if (found == nullptr && !sockets.are_new) {
        read_all(p);
        found = find(inode);
    }
    return found == nullptr ? "" : found->peer;
}

} // namespace corun::launcher
