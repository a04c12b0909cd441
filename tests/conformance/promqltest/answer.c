#include "answer.h"

#include "common/model/duration.h"
#include "promql/fhist.h"

#include <jansson.h>
#include <math.h>

enum { TEXT_MAX = 1 << 20 };

static int bad(struct err *err, const char *what)
{
    return err_set(err, RC_CORRUPT, "the answer is not of the API: %s", what);
}

static struct str text_of(const json_t *v)
{
    return (struct str){json_string_value(v), json_string_length(v)};
}

/* --- values --- */
static int number(const json_t *v, double *ret, struct err *err)
{
    if (!json_is_string(v) || float_parse(text_of(v), ret, NULL) < 0)
        return bad(err, "a value is no number in quotes");
    return 0;
}

static int time_of(const json_t *v, int64_t *ret, struct err *err)
{
    if (!json_is_number(v))
        return bad(err, "a timestamp is no number");
    *ret = llround(json_number_value(v) * 1000);
    return 0;
}

static int bucket(const json_t *v, struct fhist_bucket *ret, struct err *err)
{
    json_int_t rule = json_integer_value(json_array_get(v, 0));
    int rc = number(json_array_get(v, 1), &ret->lower, err);

    if (rc == 0)
        rc = number(json_array_get(v, 2), &ret->upper, err);
    if (rc == 0)
        rc = number(json_array_get(v, 3), &ret->count, err);
    if (rc == 0 && (!json_is_integer(json_array_get(v, 0)) || rule < 0 || rule > 3))
        rc = bad(err, "a bucket's rule is not 0 to 3");
    ret->lower_inclusive = rule == 1 || rule == 3;
    ret->upper_inclusive = rule == 0 || rule == 3;
    return rc;
}

static int histogram(const json_t *v, struct arena *a, const struct histogram **ret,
                     struct err *err)
{
    const json_t *buckets = json_object_get(v, "buckets");
    struct api_histogram *h = arena_zalloc(a, sizeof *h);
    int rc;

    ASSERT(h);
    h->base.is_float = true;
    h->n = json_array_size(buckets);
    h->buckets = arena_array(a, h->n, sizeof *h->buckets);
    ASSERT(h->buckets);
    rc = number(json_object_get(v, "count"), &h->base.count.f, err);
    if (rc == 0)
        rc = number(json_object_get(v, "sum"), &h->base.sum, err);
    for (size_t i = 0; rc == 0 && i < h->n; i++)
        rc = bucket(json_array_get(buckets, i), &h->buckets[i], err);
    *ret = &h->base;
    return rc;
}

const struct histogram *answer_histogram(const struct histogram *h, struct arena *a)
{
    const struct histogram *out = NULL;
    struct buf text;
    json_t *json;

    buf_init(&text, TEXT_MAX);
    fhist_print_json(&text, h);
    json = buf_ok(&text) ? json_loadb(text.p, text.n, 0, NULL) : NULL;
    ASSERT(json && histogram(json, a, &out, NULL) == 0);
    json_decref(json);
    buf_fini(&text);
    return out;
}

/* [time, value] */
static int point(const json_t *v, bool hist, struct arena *a, struct result_sample *ret,
                 struct err *err)
{
    int rc = time_of(json_array_get(v, 0), &ret->t, err);

    if (rc == 0 && json_array_size(v) != 2)
        rc = bad(err, "a point is no pair");
    if (rc < 0)
        return rc;
    if (hist)
        return histogram(json_array_get(v, 1), a, &ret->h, err);
    return number(json_array_get(v, 1), &ret->v, err);
}

/* --- series --- */
static struct labels labels_of(json_t *metric, struct arena *a)
{
    struct labels ls = {arena_array(a, json_object_size(metric), sizeof *ls.v), 0};
    const char *name;
    json_t *value;

    ASSERT(ls.v);
    json_object_foreach(metric, name, value) {
        ls.v[ls.n++] = (struct label){arena_str(a, str_of(name)), arena_str(a, text_of(value))};
    }
    labels_sort(&ls, NULL);
    return ls;
}

/* Points of both lists in time order. */
static int points(const json_t *series, struct arena *a, struct result_series *ret,
                  struct err *err)
{
    const json_t *v = json_object_get(series, "values"), *h = json_object_get(series, "histograms");
    size_t vn = json_array_size(v), hn = json_array_size(h), vi = 0, hi = 0;
    struct result_sample next_v = {0}, next_h = {0};
    int rc = 0;

    ret->s = arena_array(a, vn + hn, sizeof *ret->s);
    ASSERT(ret->s);
    if (vn)
        rc = point(json_array_get(v, 0), false, a, &next_v, err);
    if (rc == 0 && hn)
        rc = point(json_array_get(h, 0), true, a, &next_h, err);
    while (rc == 0 && vi + hi < vn + hn) {
        if (hi == hn || (vi < vn && next_v.t < next_h.t)) {
            ret->s[ret->n++] = next_v;
            if (++vi < vn)
                rc = point(json_array_get(v, vi), false, a, &next_v, err);
        } else {
            ret->s[ret->n++] = next_h;
            if (++hi < hn)
                rc = point(json_array_get(h, hi), true, a, &next_h, err);
        }
    }
    return rc;
}

static int one_point(const json_t *v, bool hist, struct arena *a, struct result_series *ret,
                     struct err *err)
{
    ret->s = arena_zalloc(a, sizeof *ret->s);
    ASSERT(ret->s);
    ret->n = 1;
    return point(v, hist, a, ret->s, err);
}

static int series_list(const json_t *list, bool matrix, struct arena *a, struct query_result *ret,
                       struct err *err)
{
    int rc = 0;

    if (!json_is_array(list))
        return bad(err, "the result is no list");
    ret->series = arena_array(a, json_array_size(list), sizeof *ret->series);
    ASSERT(ret->series);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i), *hist = json_object_get(v, "histogram");
        struct result_series *s = &ret->series[ret->series_count++];

        *s = (struct result_series){.labels = labels_of(json_object_get(v, "metric"), a)};
        if (matrix)
            rc = points(v, a, s, err);
        else
            rc = one_point(hist ? hist : json_object_get(v, "value"), hist != NULL, a, s, err);
    }
    return rc;
}

/* --- answers --- */
static void texts(const json_t *list, struct arena *a, const char ***ret, size_t *ret_n)
{
    *ret_n = json_array_size(list);
    *ret = arena_array(a, *ret_n, sizeof **ret);
    ASSERT(*ret);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = arena_strz(a, text_of(json_array_get(list, i)));
}

static int data(const json_t *d, struct arena *a, struct query_result *ret, struct err *err)
{
    const char *type = json_string_value(json_object_get(d, "resultType"));
    const json_t *result = json_object_get(d, "result");

    if (!type)
        return bad(err, "no resultType");
    if (strcmp(type, "matrix") == 0) {
        ret->type = VALUE_MATRIX;
        return series_list(result, true, a, ret, err);
    }
    if (strcmp(type, "vector") == 0) {
        ret->type = VALUE_VECTOR;
        return series_list(result, false, a, ret, err);
    }
    if (strcmp(type, "string") == 0) {
        ret->type = VALUE_STRING;
        ret->string = arena_str(a, text_of(json_array_get(result, 1)));
        return 0;
    }
    if (strcmp(type, "scalar") != 0)
        return bad(err, "unknown resultType");
    ret->type = VALUE_SCALAR;
    ret->series = arena_zalloc(a, sizeof *ret->series);
    ASSERT(ret->series);
    ret->series_count = 1;
    return one_point(result, false, a, ret->series, err);
}

static int answer(const json_t *json, struct arena *a, struct query_result *ret, struct err *err)
{
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *text = json_string_value(json_object_get(json, "error"));

    if (!status)
        return bad(err, "no status");
    if (strcmp(status, "success") != 0)
        return err_set(err, RC_EXECUTION, "%s", text ? text : "(no error text)");
    texts(json_object_get(json, "warnings"), a, &ret->warnings, &ret->warning_count);
    texts(json_object_get(json, "infos"), a, &ret->infos, &ret->info_count);
    return data(json_object_get(json, "data"), a, ret, err);
}

int answer_parse(struct str text, struct arena *a, struct query_result *ret, struct err *err)
{
    json_t *json = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    struct query_result out = {0};
    int rc = json ? answer(json, a, &out, err) : bad(err, "no JSON");

    json_decref(json);
    if (rc == 0)
        *ret = out;
    return rc;
}
