/* ring_dns.h - looks the seeds' names up, at once and then again and again, and tells when their addresses change.
 * A name service may keep a caller waiting for many seconds, so look-ups have a thread of their own, which nobody waits for at the end.
 * Threads: new and free from one; changed is called on the thread's, never after ring_dns_free. */
#pragma once
#include "ring/seeds.h"

struct log;
struct metrics;
struct ring_dns;

enum { RING_DNS_PERIOD_MS = 10000, RING_DNS_RETRY_MS = 1000 /* until every name was found once */ };

struct ring_dns_cfg {
    int64_t period_ms; /* 0: RING_DNS_PERIOD_MS */
    struct metrics *metrics;
    struct log *log;
    void (*changed)(void *arg, const seed_addrs *addrs); /* borrowed during the call */
    void *arg;
};

/* Takes the seeds. */
struct ring_dns *ring_dns_new(const struct ring_dns_cfg *cfg, struct seeds *seeds);
void ring_dns_free(struct ring_dns *d); /* NULL is fine */
