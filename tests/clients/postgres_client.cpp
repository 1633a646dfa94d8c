// SPDX-License-Identifier: Apache-2.0
// needs: libpq
// libpq as it is: a connection for each coroutine, by TCP and by socket file in turn, and pg_sleep(1)
// on all of them. Arguments: port, directory of the socket file.
#include "tests/clients/crowd.h"
#include <libpq-fe.h>

struct client {
    PGconn *db = nullptr;
    std::string where;

    client(int index, char **arguments)
        : where("user=corun dbname=postgres port=" + std::string(arguments[0]) +
                " host=" + (index % 2 ? arguments[1] : "127.0.0.1")) {}
    ~client() { PQfinish(db); }

    void connect() {
        db = PQconnectdb(where.c_str());
        must(PQstatus(db) == CONNECTION_OK, PQerrorMessage(db));
    }
    void work() {
        PGresult *result = PQexec(db, "SELECT pg_backend_pid() FROM pg_sleep(1)");
        must(PQresultStatus(result) == PGRES_TUPLES_OK, PQerrorMessage(db));
        must(atoi(PQgetvalue(result, 0, 0)) == PQbackendPID(db), "another connection's answer");
        PQclear(result);
    }
};

int main(int argc, char **argv) { return crowd_main<client>(argc, argv); }
