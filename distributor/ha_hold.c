#include "distributor/ha_hold.h"

#include <stdlib.h>
#include <string.h>

struct ha_body *ha_body_new(struct str bytes, const struct push_content *content, bool started)
{
    struct ha_body *b = xmalloc(sizeof *b + bytes.n);

    *b = (struct ha_body){.content = *content, .started = started, .n = bytes.n};
    atomic_init(&b->refs, 1);
    if (bytes.n)
        memcpy(b->bytes, bytes.p, bytes.n);
    return b;
}

struct ha_body *ha_body_ref(struct ha_body *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void ha_body_unref(struct ha_body *b)
{
    if (atomic_fetch_sub(&b->refs, 1) == 1)
        free(b);
}

size_t ha_held_bytes(const struct ha_held *held)
{
    return sizeof *held + sizeof *held->body + held->body->n;
}

void ha_held_free(struct ha_held *held)
{
    ha_body_unref(held->body);
    free(held);
}

void ha_hold_init(struct ha_hold *h)
{
    *h = (struct ha_hold){.last = &h->first};
}

/* The one that *at points to. */
static struct ha_held *unlink_at(struct ha_hold *h, struct ha_held **at)
{
    struct ha_held *held = *at;

    *at = held->next;
    if (h->last == &held->next)
        h->last = at;
    held->next = NULL;
    h->bytes -= ha_held_bytes(held);
    return held;
}

void ha_hold_fini(struct ha_hold *h)
{
    while (h->first)
        ha_held_free(unlink_at(h, &h->first));
}

bool ha_hold_add(struct ha_hold *h, struct ha_body *body, uint16_t pair, int64_t now_ms, size_t bytes_max)
{
    struct ha_held *held = xmalloc(sizeof *held);
    bool all             = true;

    *held = (struct ha_held){.body = ha_body_ref(body), .came_ms = now_ms, .pair = pair};
    *h->last = held;
    h->last  = &held->next;
    h->bytes += ha_held_bytes(held);
    while (h->bytes > bytes_max && h->first) {
        ha_held_free(unlink_at(h, &h->first));
        all = false;
    }
    return all;
}

struct ha_held *ha_hold_sweep(struct ha_hold *h, enum ha_fate (*fate)(void *arg, struct ha_held *held), void *arg)
{
    struct ha_held *fill = NULL, **last = &fill, **at = &h->first;

    while (*at) {
        enum ha_fate f = fate(arg, *at);

        if (f == HA_KEEP) {
            at = &(*at)->next;
            continue;
        }
        struct ha_held *held = unlink_at(h, at);

        if (f == HA_DROP) {
            ha_held_free(held);
            continue;
        }
        *last = held;
        last  = &held->next;
    }
    return fill;
}
