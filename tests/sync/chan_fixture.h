// SPDX-License-Identifier: Apache-2.0
// A channel of ints, or of what a test asks for, destroyed at the test's end.
#pragma once

#include "tests/sync/sync_fixture.h"

class Chan : public SyncTest {
  protected:
    void TearDown() override {
        if (ch) {
            EXPECT_EQ(co_chan_destroy(ch), 0);
        }
        SyncTest::TearDown();
    }
    void make(size_t capacity, size_t item_size = sizeof(int)) {
        if (ch) {
            EXPECT_EQ(co_chan_destroy(ch), 0);
        }
        ch = nullptr;
        ASSERT_EQ(co_chan_create(&ch, item_size, capacity), 0);
    }
    int send(int item) { return co_chan_send(ch, &item); }
    int recv() { // the item, or the negative error
        int item = -1, error = co_chan_recv(ch, &item);
        return error ? -error : item;
    }
    co_chan_t *ch = nullptr;
};
