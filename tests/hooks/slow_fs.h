// SPDX-License-Identifier: Apache-2.0
// A file system that takes its time: a thread of the test speaks the kernel's FUSE protocol on
// /dev/fuse and waits before each answer. It has a root directory and one file, "slow", in it, of
// which nothing is cached: every call asks the thread.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

class slow_fs {
  public:
    explicit slow_fs(unsigned delay_us) : delay_us_(delay_us) {
        fd_ = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (fd_ < 0 || !mkdtemp(directory_))
            return;
        std::string options = "fd=" + std::to_string(fd_) + ",rootmode=40000,user_id=0,group_id=0";
        mounted_ = mount("corun", directory_, "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
        if (mounted_)
            server_ = std::thread([this] { serve(); });
        else
            rmdir(directory_);
    }
    ~slow_fs() {
        delay_us_ = 0;
        if (mounted_)
            umount2(directory_, MNT_DETACH); // then the kernel says ENODEV to the server
        if (server_.joinable())
            server_.join();
        if (fd_ >= 0)
            close(fd_);
        if (mounted_)
            rmdir(directory_);
    }
    slow_fs(const slow_fs &) = delete;
    slow_fs &operator=(const slow_fs &) = delete;

    bool mounted() const { return mounted_; }
    std::string file() const { return std::string(directory_) + "/slow"; }
    const char *directory() const { return directory_; }
    int asked() const { return asked_; } // requests that were answered late
    static constexpr size_t size = 100000;
    static char byte_at(size_t i) { return static_cast<char>('a' + i % 23); }

  private:
    static constexpr uint64_t root = FUSE_ROOT_ID, the_file = 2;

    static fuse_attr attributes(uint64_t node) {
        fuse_attr a{};
        a.ino = node;
        a.mode = node == root ? S_IFDIR | 0755 : S_IFREG | 0644;
        a.nlink = 1;
        a.size = node == root ? 0 : size;
        return a;
    }
    void answer(uint64_t unique, int error, const void *body = nullptr, size_t n = 0) {
        std::vector<char> out(sizeof(fuse_out_header) + n);
        fuse_out_header h{static_cast<uint32_t>(out.size()), error, unique};
        memcpy(out.data(), &h, sizeof h);
        if (n > 0)
            memcpy(out.data() + sizeof h, body, n);
        (void)!write(fd_, out.data(), out.size());
    }
    template <class T> void answer(uint64_t unique, const T &body) {
        answer(unique, 0, &body, sizeof body);
    }
    void serve() {
        std::vector<char> request(1 << 20);
        for (;;) {
            ssize_t n = read(fd_, request.data(), request.size());
            if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
                continue;
            if (n < static_cast<ssize_t>(sizeof(fuse_in_header)))
                return;
            fuse_in_header h;
            memcpy(&h, request.data(), sizeof h);
            if (h.opcode != FUSE_INIT && h.opcode != FUSE_FORGET && h.opcode != FUSE_BATCH_FORGET &&
                h.opcode != FUSE_RELEASE && h.opcode != FUSE_RELEASEDIR) {
                ++asked_;
                usleep(delay_us_);
            }
            reply(h, request.data() + sizeof h);
        }
    }
    void reply(const fuse_in_header &h, const char *body) {
        switch (h.opcode) {
        case FUSE_INIT: {
            fuse_init_out out{};
            out.major = FUSE_KERNEL_VERSION;
            out.minor = 31;
            out.max_write = 65536;
            return answer(h.unique, out);
        }
        case FUSE_LOOKUP: {
            if (strcmp(body, "slow") != 0)
                return answer(h.unique, -ENOENT);
            fuse_entry_out out{};
            out.nodeid = the_file;
            out.attr = attributes(the_file);
            return answer(h.unique, out);
        }
        case FUSE_GETATTR:
        case FUSE_SETATTR: {
            fuse_attr_out out{};
            out.attr = attributes(h.nodeid);
            return answer(h.unique, out);
        }
        case FUSE_OPEN:
        case FUSE_OPENDIR: {
            fuse_open_out out{};
            out.open_flags = h.opcode == FUSE_OPEN ? FOPEN_DIRECT_IO : 0;
            return answer(h.unique, out);
        }
        case FUSE_READ: {
            fuse_read_in in;
            memcpy(&in, body, sizeof in);
            std::string out;
            for (size_t i = in.offset; i < size && out.size() < in.size; ++i)
                out += byte_at(i);
            return answer(h.unique, 0, out.data(), out.size());
        }
        case FUSE_WRITE: {
            fuse_write_in in;
            memcpy(&in, body, sizeof in);
            fuse_write_out out{in.size, 0};
            return answer(h.unique, out);
        }
        case FUSE_READDIR: {
            fuse_read_in in;
            memcpy(&in, body, sizeof in);
            struct {
                uint64_t node, next;
                uint32_t length, type;
                char name[8];
            } out{the_file, 1, 4, S_IFREG >> 12, {'s', 'l', 'o', 'w'}};
            return answer(h.unique, 0, &out, in.offset == 0 ? sizeof out : 0);
        }
        case FUSE_STATFS: {
            fuse_statfs_out out{};
            out.st.bsize = 4096;
            return answer(h.unique, out);
        }
        case FUSE_FSYNC:
        case FUSE_FLUSH:
        case FUSE_RELEASE:
        case FUSE_RELEASEDIR:
        case FUSE_ACCESS:
            return answer(h.unique, 0);
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
            return;
        default:
            return answer(h.unique, -ENOSYS);
        }
    }

    char directory_[40] = "/tmp/corun-slow-XXXXXX";
    int fd_ = -1;
    bool mounted_ = false;
    std::atomic<unsigned> delay_us_;
    std::atomic<int> asked_{0};
    std::thread server_;
};
