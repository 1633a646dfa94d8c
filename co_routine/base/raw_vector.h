// SPDX-License-Identifier: Apache-2.0
// A growing array on pages of its own: what must grow where malloc may not be called. Elements are
// plain data; growing moves them by mremap, so the pointers into it change.
#pragma once

#include "co_routine/base/raw_sys.h"

#include <sys/mman.h>
#include <type_traits>

namespace corun {

// Of static storage: it has no destructor, because threads and other libraries' destructors go on while the
// process exits, and with them what they ask of us.
template <class T> class static_vector {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    static_vector() = default;
    static_vector(const static_vector &) = delete;
    static_vector &operator=(const static_vector &) = delete;

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T *data() { return data_; }
    T &operator[](size_t i) { return data_[i]; }
    const T &operator[](size_t i) const { return data_[i]; }
    T &back() { return data_[size_ - 1]; }
    void pop_back() { --size_; }
    void clear() { size_ = 0; }

    // False: no memory; nothing has changed.
    bool reserve(size_t count) { return count * sizeof(T) <= bytes_ || grow(count); }
    bool push_back(T value) {
        if (!reserve(size_ + 1))
            return false;
        data_[size_++] = value;
        return true;
    }
    void reset() {
        if (bytes_)
            sys::munmap(data_, bytes_);
        data_ = nullptr;
        size_ = bytes_ = 0;
    }

  private:
    bool grow(size_t count) {
        size_t bytes = bytes_ ? bytes_ * 2 : 4096;
        while (bytes < count * sizeof(T))
            bytes *= 2;
        sys::word r = bytes_ ? sys::mremap_may_move(data_, bytes_, bytes)
                             : sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, 0);
        if (sys::failed(r))
            return false;
        data_ = reinterpret_cast<T *>(r);
        bytes_ = bytes;
        return true;
    }

    T *data_ = nullptr;
    size_t size_ = 0;
    size_t bytes_ = 0;
};

// Of anybody else.
template <class T> struct raw_vector : static_vector<T> {
    ~raw_vector() { this->reset(); }
};

} // namespace corun
