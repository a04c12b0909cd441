/* Answers to the generator's HTTP client, whole and in two pieces: both ways give the same status, body and verdict. The first byte says where to cut. */
#include "loadgen/http_client.h"

#include <poll.h>
#include <unistd.h>

enum { BODY_MAX = 1 << 16 };

/* Feeds data, cut at cut, through a socket; returns what the client says in the end, when the peer has hung up. */
static int feed(struct http_client *c, const uint8_t *data, size_t n, size_t cut)
{
    int fds[2], rc = 0;
    struct err err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        return 0;
    c->fd = fds[0];
    c->state = CLIENT_HEAD;
    if (cut && write(fds[1], data, cut) == (ssize_t)cut)
        rc = http_client_step(c, &err);
    if (rc == 0 && write(fds[1], data + cut, n - cut) == (ssize_t)(n - cut)) {
        close(fds[1]);
        fds[1] = -1;
        while (rc == 0)
            rc = http_client_step(c, &err);
    }
    if (fds[1] >= 0)
        close(fds[1]);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct http_peer peer = {.host = "fuzz"};
    struct http_client whole, cut;
    int rc_whole, rc_cut;

    if (n < 2 || n > 1 << 15)
        return 0;
    http_client_init(&whole, &peer, BODY_MAX);
    http_client_init(&cut, &peer, BODY_MAX);
    rc_whole = feed(&whole, data + 1, n - 1, 0);
    rc_cut = feed(&cut, data + 1, n - 1, data[0] % (n - 1));
    ASSERT(rc_whole != 0 && rc_cut != 0);
    /* Bytes behind a complete answer are noticed only when they come with it. */
    if (rc_whole == 1 && rc_cut == 1)
        ASSERT(whole.status == cut.status && str_eq(buf_view(&whole.body), buf_view(&cut.body)));
    ASSERT((rc_whole == 1) == (rc_cut == 1));
    http_client_fini(&whole);
    http_client_fini(&cut);
    return 0;
}
