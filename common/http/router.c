#include "common/http/http_impl.h"

#include <stdlib.h>

static bool is_param(struct str segment)
{
    return segment.n > 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
}

static bool is_rest(struct str segment)
{
    return segment.n == 1 && segment.p[0] == '*';
}

static struct str segment_take(struct str *rest)
{
    size_t end;

    if (rest->n && rest->p[0] == '/')
        *rest = str_skip(*rest, 1);
    end = str_find(*rest, '/');
    struct str segment = str_sub(*rest, 0, end);
    *rest = str_skip(*rest, end);
    return segment;
}

void http_route(struct http_server *s, const struct http_route *route)
{
    enum http_role role = http_role_of(route->pattern, route->methods, route->flags);
    struct http_route_entry *e;
    struct str rest = str_of(route->pattern);
    size_t params = 0;

    ASSERT(rest.n && rest.p[0] == '/' && route->handle && route->methods);
    if (s->twin)
        http_route(s->twin, route);
    if (!(s->roles & 1u << role))
        return;
    e = xcalloc(1, sizeof *e);
    e->role = role;
    e->route = *route;
    if (e->route.methods & HTTP_M_GET)
        e->route.methods |= 1 << HTTP_HEAD;
    do {
        ASSERT(e->segment_count < ARRAY_LEN(e->segments));
        e->segments[e->segment_count] = segment_take(&rest);
        params += is_param(e->segments[e->segment_count]) || is_rest(e->segments[e->segment_count]);
        ASSERT(!is_rest(e->segments[e->segment_count]) || rest.n == 0);
        e->segment_count++;
    } while (rest.n);
    ASSERT(params <= HTTP_PATH_PARAMS_MAX);
    if (s->inflight)
        e->inflight = metric_with(s->inflight, route->pattern, NULL);
    mutex_lock(&s->routes_lock);
    size_t n = atomic_load(&s->route_count);
    ASSERT(n < HTTP_ROUTES_MAX);
    for (size_t i = 0; i < n; i++)
        ASSERT(strcmp(s->routes[i]->route.pattern, route->pattern) != 0 ||
               !(s->routes[i]->route.methods & e->route.methods));
    s->routes[n] = e;
    atomic_store(&s->route_count, n + 1);
    mutex_unlock(&s->routes_lock);
}

/* How well a pattern fits: two bits a segment, literal 3, {name} 2, "*" 1, so that the larger
 * number is the more exact. 0: not. */
static uint64_t route_match(const struct http_route_entry *e, struct str path,
                            struct str params[HTTP_PATH_PARAMS_MAX])
{
    uint64_t score = 0;
    size_t n = 0;

    for (size_t i = 0; i < e->segment_count; i++) {
        struct str segment;

        if (is_rest(e->segments[i])) {
            if (path.n == 0)
                return 0;
            params[n] = str_skip(path, 1);
            return score << 2 | 1;
        }
        if (path.n == 0)
            return 0;
        segment = segment_take(&path);
        if (is_param(e->segments[i])) {
            if (segment.n == 0)
                return 0;
            params[n++] = segment;
            score = score << 2 | 2;
        } else if (str_eq(e->segments[i], segment)) {
            score = score << 2 | 3;
        } else {
            return 0;
        }
    }
    return path.n ? 0 : score;
}

/* Scores of patterns with different numbers of segments compare from the first segment on. */
static uint64_t aligned(uint64_t score, size_t segments)
{
    return score << (2 * (16 - segments));
}

const struct http_route_entry *route_find(struct http_server *s, struct str path,
                                          enum http_method method,
                                          struct str params[HTTP_PATH_PARAMS_MAX],
                                          unsigned *ret_allowed)
{
    size_t n = atomic_load_explicit(&s->route_count, memory_order_acquire);
    const struct http_route_entry *best = NULL;
    uint64_t best_score = 0;
    unsigned allowed = 0;

    for (size_t i = 0; i < n; i++) {
        const struct http_route_entry *e = s->routes[i];
        struct str found[HTTP_PATH_PARAMS_MAX] = {0};
        uint64_t score = route_match(e, path, found);

        if (score == 0)
            continue;
        allowed |= e->route.methods;
        score = aligned(score, e->segment_count);
        if (!(e->route.methods & (1u << method)) || score <= best_score)
            continue;
        best = e;
        best_score = score;
        memcpy(params, found, sizeof found);
    }
    *ret_allowed = allowed;
    return best;
}
