// SPDX-License-Identifier: Apache-2.0
// needs: hiredis
// hiredis as it is: each coroutine waits in BLPOP for a list of its own, by TCP and by socket file in
// turn. When the server counts all of them as blocked, a further coroutine wakes one after the other in
// shuffled order and sees that each time that one has come back. Arguments: port, socket file, seconds
// that BLPOP waits (0: for ever; then one that is not woken ends the test by its time limit), seed.
#include "tests/clients/crowd.h"
#include <cstring>
#include <hiredis.h>
#include <numeric>
#include <random>

using reply_ptr = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

struct client {
    redisContext *redis = nullptr;
    int index;
    char **arguments;
    static inline int woken = -1; // who came back last
    static inline char **common;

    client(int i, char **a) : index(i), arguments(a) { common = a; }
    ~client() { redisFree(redis); }

    static redisContext *open(bool by_tcp, char **arguments) {
        redisContext *c =
            by_tcp ? redisConnect("127.0.0.1", atoi(arguments[0])) : redisConnectUnix(arguments[1]);
        must(c && c->err == 0, c ? c->errstr : "no memory");
        return c;
    }
    void connect() { redis = open(index % 2 == 0, arguments); }

    void work() {
        reply_ptr reply(
            static_cast<redisReply *>(redisCommand(redis, "BLPOP list:%d %s", index, arguments[2])),
            freeReplyObject);
        must(reply != nullptr, redis->errstr);
        if (reply->type == REDIS_REPLY_NIL && strcmp(arguments[2], "0") != 0)
            return;
        must(reply->type == REDIS_REPLY_ARRAY && reply->elements == 2, "no pair");
        must(atoi(reply->element[1]->str) == index, "another one's value");
        woken = index;
    }

    // The number that the server's INFO gives for this name.
    static int info(redisContext *c, const char *name) {
        reply_ptr reply(static_cast<redisReply *>(redisCommand(c, "INFO clients")),
                        freeReplyObject);
        must(reply && reply->type != REDIS_REPLY_ERROR, "no INFO");
        const char *at = strstr(reply->str, name);
        must(at, "INFO without the name");
        return atoi(at + strlen(name) + 1);
    }

    static void conduct(crowd &c) {
        std::unique_ptr<redisContext, decltype(&redisFree)> redis(open(true, common), redisFree);
        while (c.errors == 0 && info(redis.get(), "blocked_clients") < c.count)
            co_sleep_ms(2);
        std::vector<int> order(static_cast<size_t>(c.count));
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937(strtoul(common[3], nullptr, 10)));
        for (int next : order) {
            int before = c.finished;
            reply_ptr reply(static_cast<redisReply *>(
                                redisCommand(redis.get(), "RPUSH list:%d %d", next, next)),
                            freeReplyObject);
            must(reply != nullptr, "RPUSH");
            while (c.finished == before)
                co_sleep_ms(1);
            must(woken == next, "woken: another one");
        }
    }
};

int main(int argc, char **argv) { return crowd_main<client>(argc, argv); }
