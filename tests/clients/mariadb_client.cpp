// SPDX-License-Identifier: Apache-2.0
// needs: libmariadb
// libmariadb as it is: a connection for each coroutine, by TCP and by socket file in turn, and SELECT
// SLEEP(1) on all of them. Arguments: port, socket file.
#include "tests/clients/crowd.h"
#include <cstring>
#include <mysql.h>

struct client {
    MYSQL *db = mysql_init(nullptr);
    bool by_tcp;
    char **arguments;

    client(int index, char **a) : by_tcp(index % 2 == 0), arguments(a) {}
    ~client() { mysql_close(db); }

    void connect() {
        must(mysql_real_connect(db, by_tcp ? "127.0.0.1" : "localhost", "root", "", nullptr,
                                by_tcp ? static_cast<unsigned>(atoi(arguments[0])) : 0,
                                by_tcp ? nullptr : arguments[1], 0),
             mysql_error(db));
    }
    void work() {
        must(mysql_query(db, "SELECT SLEEP(1), CONNECTION_ID()") == 0, mysql_error(db));
        MYSQL_RES *result = mysql_store_result(db);
        must(result, mysql_error(db));
        MYSQL_ROW row = mysql_fetch_row(result);
        must(row && strcmp(row[0], "0") == 0, "the query was cut short");
        must(strtoul(row[1], nullptr, 10) == mysql_thread_id(db), "another connection's answer");
        mysql_free_result(result);
    }
};

int main(int argc, char **argv) {
    mysql_library_init(0, nullptr, nullptr);
    int status = crowd_main<client>(argc, argv);
    mysql_library_end();
    return status;
}
