#include "common/rpc/sock.h"

#include "tests/test.h"

#include <string.h>

TEST(addresses_are_host_and_port)
{
    static const struct {
        const char *addr, *host, *port; /* host NULL: refused */
    } cases[] = {
        {"127.0.0.1:9095", "127.0.0.1", "9095"}, {"[::1]:0", "::1", "0"}, {"ingester-0.torc.svc:65535", "ingester-0.torc.svc", "65535"},
        {NULL, NULL, NULL}, {"", NULL, NULL}, {"host", NULL, NULL}, {":1", NULL, NULL}, {"[]:1", NULL, NULL}, {"host:", NULL, NULL},
        {"host:1x", NULL, NULL}, {"host:65536", NULL, NULL}, {"host:123456", NULL, NULL}, {"host:-1", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sock_addr got = {.host = "untouched"};
        int rc = sock_addr_parse(cases[i].addr, &got);

        CHECK((rc == 0) == (cases[i].host != NULL));
        CHECK(strcmp(got.host, cases[i].host ? cases[i].host : "untouched") == 0);
        CHECK(!cases[i].port || strcmp(got.port, cases[i].port) == 0);
    }
}

TEST(a_host_name_has_255_bytes_at_most)
{
    char addr[SOCK_HOST_BYTES + 8];
    struct sock_addr got;

    memset(addr, 'a', sizeof addr);
    memcpy(addr + SOCK_HOST_BYTES, ":1", 3);
    CHECK(sock_addr_parse(addr, &got) == RC_INVALID);
    memcpy(addr + SOCK_HOST_BYTES - 1, ":1", 3);
    CHECK(sock_addr_parse(addr, &got) == 0);
}
