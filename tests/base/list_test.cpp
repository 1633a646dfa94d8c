// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/list.h"

#include <gtest/gtest.h>

#include <string>

using namespace corun;

namespace {

struct item {
    char name;
    list_node link;
};

std::string order(const list_head &list) {
    std::string names;
    for (const list_node *n = list.ring.next; n != &list.ring; n = n->next)
        names += CO_CONTAINER(const_cast<list_node *>(n), item, link)->name;
    return names;
}

struct List : testing::Test {
    list_head list;
    item a{'a', {}}, b{'b', {}}, c{'c', {}};
};

TEST_F(List, ANewOneIsEmpty) {
    EXPECT_TRUE(list.empty());
    EXPECT_EQ(list.front(), nullptr);
    EXPECT_EQ(list.pop_front(), nullptr);
}

TEST_F(List, PushBackKeepsTheOrderOfArrival) {
    list.push_back(&a.link);
    list.push_back(&b.link);
    list.push_back(&c.link);
    EXPECT_EQ(order(list), "abc");
}

TEST_F(List, PushFrontGoesBeforeEveryoneElse) {
    list.push_back(&a.link);
    list.push_front(&b.link);
    EXPECT_EQ(order(list), "ba");
}

TEST_F(List, ANodeIsLinkedFromPushToUnlink) {
    EXPECT_FALSE(a.link.linked());
    list.push_back(&a.link);
    EXPECT_TRUE(a.link.linked());
    a.link.unlink();
    EXPECT_FALSE(a.link.linked());
    EXPECT_TRUE(list.empty());
}

TEST_F(List, OneInTheMiddleCanLeave) {
    for (item *i : {&a, &b, &c})
        list.push_back(&i->link);
    b.link.unlink();
    EXPECT_EQ(order(list), "ac");
    list.push_back(&b.link);
    EXPECT_EQ(order(list), "acb");
}

TEST_F(List, PopFrontTakesTheFirstAndUnlinksIt) {
    for (item *i : {&a, &b})
        list.push_back(&i->link);
    EXPECT_EQ(list.pop_front(), &a.link);
    EXPECT_FALSE(a.link.linked());
    EXPECT_EQ(list.pop_front(), &b.link);
    EXPECT_TRUE(list.empty());
}

TEST_F(List, InsertBeforePutsANodeAtAnyPlace) {
    list.push_back(&a.link);
    list.push_back(&c.link);
    list_head::insert_before(&c.link, &b.link);
    EXPECT_EQ(order(list), "abc");
}

} // namespace
