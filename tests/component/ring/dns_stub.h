/* dns_stub.h - a name server of the test's own, and a network in which it is the only one: 127.0.0.1:53 in a namespace with its own
 * /etc/resolv.conf. UDP and TCP; its records and its mood can be changed at any time. */
#pragma once
#include "common/base/bytes.h"
#include "common/base/buf.h"
#include "common/sys/thread.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

enum dns_mood { DNS_GOOD, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_SILENT };
enum { DNS_A = 1, DNS_AAAA = 28, DNS_SRV = 33, DNS_UDP_BYTES = 512 };

struct dns_record {
    const char *name;
    uint16_t type;
    const char *value; /* an address, or an SRV record's target */
    uint16_t port;     /* SRV */
};
struct dns_stub {
    struct mutex lock;
    enum dns_mood mood; /* --- guarded by lock --- */
    struct dns_record records[512];
    size_t n;
    unsigned asked;

    int udp, tcp, stop[2];
    pthread_t thread;
};

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* For the rest of this process; before any other thread. */
static void dns_own_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    char path[512];
    bool root = geteuid() == 0;
    int fd;

    if (unshare((root ? 0 : CLONE_NEWUSER) | CLONE_NEWNS | CLONE_NEWNET) != 0)
        fail_msg("no namespaces for a name server of the test's own (root, or unprivileged user namespaces)");
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    snprintf(path, sizeof path, "%s/resolv.conf", test_tmpdir());
    write_file(path, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    CHECK(mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0);
    snprintf(path, sizeof path, "%s/nsswitch.conf", test_tmpdir());
    write_file(path, "hosts: dns\n");
    CHECK(mount(path, "/etc/nsswitch.conf", NULL, MS_BIND, NULL) == 0);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
    close(fd);
}

static void be16(struct buf *b, unsigned v)
{
    buf_u8(b, (uint8_t)(v >> 8));
    buf_u8(b, (uint8_t)v);
}

static void dns_name(struct buf *b, const char *name)
{
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, ".");

        buf_u8(b, (uint8_t)n);
        buf_add(b, at, n);
        at += n + (at[n] == '.');
    }
    buf_u8(b, 0);
}

static void dns_rdata(struct buf *b, const struct dns_record *r)
{
    unsigned char ip[16];
    struct buf data;

    buf_init(&data, 512);
    if (r->type == DNS_SRV) {
        be16(&data, 0);
        be16(&data, 0);
        be16(&data, r->port);
        dns_name(&data, r->value);
    } else {
        CHECK(inet_pton(r->type == DNS_A ? AF_INET : AF_INET6, r->value, ip) == 1);
        buf_add(&data, ip, r->type == DNS_A ? 4 : 16);
    }
    be16(b, (unsigned)data.n);
    buf_str(b, buf_view(&data));
    buf_fini(&data);
}

/* Appends the answer to a question of n bytes; false: silence. */
static bool dns_answer(struct dns_stub *d, const unsigned char *q, size_t n, size_t max, struct buf *out)
{
    char name[256] = "";
    size_t at = 12, len = 0, count = 0, start = out->n, mark;
    unsigned type;
    bool cut = false, known = false;

    while (at < n && q[at] && len + q[at] + 2 < sizeof name) {
        len += (size_t)snprintf(name + len, sizeof name - len, "%s%.*s", len ? "." : "", q[at], (const char *)q + at + 1);
        at += q[at] + 1u;
    }
    if (at + 5 > n)
        return false;
    type = (unsigned)q[at + 1] << 8 | q[at + 2];
    mutex_lock(&d->lock);
    d->asked++;
    buf_add(out, q, 2);
    be16(out, 0x8580); /* an authoritative answer */
    be16(out, 1);
    be16(out, 0); /* answers, below */
    be16(out, 0);
    be16(out, 0);
    buf_add(out, q + 12, at + 5 - 12);
    for (size_t i = 0; i < d->n && d->mood == DNS_GOOD; i++) {
        if (strcmp(d->records[i].name, name) != 0)
            continue;
        known = true;
        if (d->records[i].type != type)
            continue;
        mark = out->n;
        be16(out, 0xc00c); /* the name is that of the question */
        be16(out, type);
        be16(out, 1);
        be16(out, 0);
        be16(out, 0); /* not to be kept */
        dns_rdata(out, &d->records[i]);
        if (out->n - start > max) {
            out->n = mark;
            cut    = true;
            break;
        }
        count++;
    }
    out->p[start + 2] = (char)(out->p[start + 2] | (cut ? 2 : 0));
    out->p[start + 3] = (char)((uint8_t)out->p[start + 3] | (d->mood == DNS_SERVFAIL ? 2 : d->mood == DNS_NXDOMAIN || !known ? 3 : 0));
    out->p[start + 6] = (char)(count >> 8);
    out->p[start + 7] = (char)count;
    known             = d->mood != DNS_SILENT;
    mutex_unlock(&d->lock);
    return known;
}

static void dns_serve_udp(struct dns_stub *d)
{
    unsigned char q[1024];
    struct sockaddr_in from;
    socklen_t from_n = sizeof from;
    ssize_t n        = recvfrom(d->udp, q, sizeof q, 0, (struct sockaddr *)&from, &from_n);
    struct buf out;

    buf_init(&out, 64 << 10);
    if (n > 0 && dns_answer(d, q, (size_t)n, DNS_UDP_BYTES, &out))
        sendto(d->udp, out.p, out.n, 0, (struct sockaddr *)&from, from_n);
    buf_fini(&out);
}

static bool dns_receive(int fd, unsigned char *p, size_t n)
{
    return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

/* Questions for A and AAAA come one behind the other. */
static void dns_serve_tcp(struct dns_stub *d)
{
    int fd = accept(d->tcp, NULL, NULL);
    unsigned char length[2], q[1024];
    struct buf out;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_usec = 200000}, sizeof(struct timeval));
    buf_init(&out, 64 << 10);
    while (dns_receive(fd, length, 2)) {
        size_t n = (size_t)length[0] << 8 | length[1];

        buf_clear(&out);
        be16(&out, 0);
        if (n > sizeof q || !dns_receive(fd, q, n) || !dns_answer(d, q, n, 60000, &out))
            break;
        out.p[0] = (char)((out.n - 2) >> 8);
        out.p[1] = (char)(out.n - 2);
        if (send(fd, out.p, out.n, MSG_NOSIGNAL) < 0)
            break;
    }
    buf_fini(&out);
    close(fd);
}

static void *dns_stub_main(void *arg)
{
    struct dns_stub *d = arg;
    struct pollfd fds[] = {{d->udp, POLLIN, 0}, {d->tcp, POLLIN, 0}, {d->stop[0], POLLIN, 0}};

    while (poll(fds, 3, -1) >= 0 && !fds[2].revents) {
        if (fds[0].revents)
            dns_serve_udp(d);
        if (fds[1].revents)
            dns_serve_tcp(d);
    }
    return NULL;
}

static void dns_up(struct dns_stub *d)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    mutex_init(&d->lock);
    d->udp = socket(AF_INET, SOCK_DGRAM, 0);
    d->tcp = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(d->tcp, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    CHECK(bind(d->udp, (struct sockaddr *)&at, sizeof at) == 0 && bind(d->tcp, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(listen(d->tcp, 8) == 0 && pipe(d->stop) == 0);
    d->thread = thread_start("dns-stub", dns_stub_main, d);
}

static void dns_down(struct dns_stub *d)
{
    CHECK(write(d->stop[1], "", 1) == 1);
    pthread_join(d->thread, NULL);
    close(d->udp);
    close(d->tcp);
    close(d->stop[0]);
    close(d->stop[1]);
    mutex_fini(&d->lock);
}

static void dns_set(struct dns_stub *d, enum dns_mood mood, const struct dns_record *records, size_t n)
{
    mutex_lock(&d->lock);
    d->mood = mood;
    memcpy(d->records, records, n * sizeof *records);
    d->n = n;
    mutex_unlock(&d->lock);
}

static void dns_mood(struct dns_stub *d, enum dns_mood mood)
{
    mutex_lock(&d->lock);
    d->mood = mood;
    mutex_unlock(&d->lock);
}
