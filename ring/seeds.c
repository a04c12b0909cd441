#include "ring/seeds.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the list --- */

static bool numeric(const char *host)
{
    struct in6_addr a;

    return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

/* "host:port", "[v6]:port" */
static int parse_host(const char *text, struct seed *ret, struct err *err)
{
    const char *colon = strrchr(text, ':'), *host = text;
    size_t n          = colon ? (size_t)(colon - text) : 0, digits;

    if (!colon || n == 0)
        return err_set(err, RC_INVALID, "ring.seeds: \"%.100s\" is not host:port", text);
    digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] || strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return err_set(err, RC_INVALID, "ring.seeds: \"%.100s\": \"%.20s\" is not a port", text, colon + 1);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    memcpy(ret->name, host, n);
    snprintf(ret->port, sizeof ret->port, "%s", colon + 1);
    ret->kind = numeric(ret->name) ? SEED_FIXED : SEED_HOST;
    return 0;
}

static int parse(const char *text, struct seed *ret, struct err *err)
{
    struct str s = str_of(text);

    if (s.n == 0 || s.n > SEED_BYTES_MAX)
        return err_set(err, RC_INVALID, "ring.seeds: \"%.100s\" must have 1 to %d bytes", text, SEED_BYTES_MAX);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("<>&\"'\\`", s.p[i]))
            return err_set(err, RC_INVALID, "ring.seeds: \"%.100s\" has a character that addresses cannot have", text);
    }
    if (str_has_prefix(s, STR("dnssrv+"))) {
        snprintf(ret->name, sizeof ret->name, "%s", text + 7);
        ret->kind = SEED_SRV;
        return ret->name[0] ? 0 : err_set(err, RC_INVALID, "ring.seeds: \"%.100s\" has no name", text);
    }
    text += str_has_prefix(s, STR("dns+")) ? 4 : 0;
    snprintf(ret->text, sizeof ret->text, "%s", text);
    return parse_host(text, ret, err);
}

int seeds_init(struct seeds *s, const char *const *texts, size_t n, struct err *err)
{
    int rc = 0;

    *s = (struct seeds){0};
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = parse(texts[i], vec_push(&s->list), err);
    if (rc < 0)
        seeds_fini(s);
    return rc;
}

void seeds_fini(struct seeds *s)
{
    for (size_t i = 0; i < s->list.n; i++)
        vec_fini(&s->list.v[i].addrs);
    vec_fini(&s->list);
}

bool seeds_have_names(const struct seeds *s)
{
    for (size_t i = 0; i < s->list.n; i++) {
        if (s->list.v[i].kind != SEED_FIXED)
            return true;
    }
    return false;
}

bool seeds_answer(struct seeds *s, size_t i, const struct seed_addr *addrs, size_t n)
{
    seed_addrs *have = &s->list.v[i].addrs;
    bool differs     = n > 0 && n != have->n;

    for (size_t k = 0; k < n && !differs; k++)
        differs = strcmp(addrs[k].text, have->v[k].text) != 0;
    if (!differs)
        return false;
    vec_clear(have);
    for (size_t k = 0; k < n; k++)
        *(struct seed_addr *)vec_push(have) = addrs[k];
    return true;
}

static void add_distinct(seed_addrs *to, const char *text)
{
    for (size_t i = 0; i < to->n; i++) {
        if (strcmp(to->v[i].text, text) == 0)
            return;
    }
    if (to->n < SEEDS_ADDRS_MAX)
        snprintf(((struct seed_addr *)vec_push(to))->text, sizeof to->v->text, "%s", text);
}

void seeds_addrs(const struct seeds *s, seed_addrs *ret)
{
    vec_clear(ret);
    for (size_t i = 0; i < s->list.n; i++) {
        const struct seed *seed = &s->list.v[i];

        for (size_t k = 0; k < seed->addrs.n; k++)
            add_distinct(ret, seed->addrs.v[k].text);
        if (seed->addrs.n == 0 && seed->text[0])
            add_distinct(ret, seed->text);
    }
}

/* --- looking up --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct seed_addr *)a)->text, ((const struct seed_addr *)b)->text);
}

/* Adds host's addresses; false: there are none. */
static bool add_host(const char *host, const char *port, seed_addrs *ret, const char **ret_why)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    int e                 = getaddrinfo(host, port, &hints, &found);
    char ip[INET6_ADDRSTRLEN];

    if (e != 0) {
        *ret_why = gai_strerror(e);
        return false;
    }
    for (const struct addrinfo *a = found; a && ret->n < SEED_ADDRS_MAX; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST) == 0)
            snprintf(((struct seed_addr *)vec_push(ret))->text, sizeof ret->v->text, a->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", ip, port);
    }
    freeaddrinfo(found);
    return true;
}

enum { SRV_ANSWER_BYTES = 64 << 10, SRV_HEADER_BYTES = 6 };

/* RFC 2782: priority, weight, port, target. Priorities and weights choose among servers of a service; of seeds all are wanted. */
static void add_target(const ns_msg *msg, const ns_rr *rr, seed_addrs *ret, const char **ret_why)
{
    char target[NS_MAXDNAME], port[8];

    if (ns_rr_type(*rr) != ns_t_srv || ns_rr_rdlen(*rr) <= SRV_HEADER_BYTES)
        return;
    if (dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), ns_rr_rdata(*rr) + SRV_HEADER_BYTES, target, sizeof target) < 0)
        return;
    snprintf(port, sizeof port, "%u", ns_get16(ns_rr_rdata(*rr) + 4));
    add_host(target, port, ret, ret_why);
}

static void add_srv(const char *name, seed_addrs *ret, const char **ret_why)
{
    unsigned char *answer      = xmalloc(SRV_ANSWER_BYTES);
    struct __res_state resolver = {0};
    ns_msg msg;
    ns_rr rr;
    int n = -1;

    if (res_ninit(&resolver) == 0) {
        n = res_nquery(&resolver, name, ns_c_in, ns_t_srv, answer, SRV_ANSWER_BYTES);
        res_nclose(&resolver);
    }
    if (n < 0 || ns_initparse(answer, MIN(n, (int)SRV_ANSWER_BYTES), &msg) < 0)
        *ret_why = "no SRV records";
    else
        for (int i = 0; i < ns_msg_count(msg, ns_s_an) && ret->n < SEED_ADDRS_MAX; i++) {
            if (ns_parserr(&msg, ns_s_an, i, &rr) == 0)
                add_target(&msg, &rr, ret, ret_why);
        }
    free(answer);
}

int seed_lookup(const struct seed *s, seed_addrs *ret, struct err *err)
{
    const char *why = "no addresses";

    vec_clear(ret);
    if (s->kind == SEED_SRV)
        add_srv(s->name, ret, &why);
    else
        add_host(s->name, s->port, ret, &why);
    if (ret->n == 0)
        return err_set(err, RC_UNAVAILABLE, "seed %s: %s", s->name, why);
    qsort(ret->v, ret->n, sizeof *ret->v, by_text); /* name servers rotate their answers */
    return 0;
}
