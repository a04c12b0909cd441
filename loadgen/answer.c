#include "loadgen/answer.h"

#include "common/base/bytes.h"

#include <stdio.h>

/* The first line of it; nothing of nothing. */
static void say(struct answer *a, struct str text)
{
    struct str line = text.n ? str_trim(str_sub(text, 0, str_find(text, '\n'))) : STR("");

    snprintf(a->text, sizeof a->text, "%.*s", STR_FMT(line));
}

/* Skips a field's value. */
static void skip(struct rd *r, uint64_t tag)
{
    switch (tag & 7) {
    case PB_VARINT:
        rd_uvarint(r);
        break;
    case PB_FIXED64:
        rd_take(r, 8);
        break;
    case PB_BYTES:
        rd_lstr(r);
        break;
    case 5:
        rd_take(r, 4);
        break;
    default:
        r->failed = true;
    }
}

static bool partial_decode(struct str message, uint64_t *rejected, struct str *text)
{
    struct rd r = rd_of(message);

    while (rd_ok(&r) && rd_left(&r) > 0) {
        uint64_t tag = rd_uvarint(&r);

        if (tag == (1 << 3 | PB_VARINT))
            *rejected = rd_uvarint(&r);
        else if (tag == (2 << 3 | PB_BYTES))
            *text = rd_lstr(&r);
        else
            skip(&r, tag);
    }
    return rd_done(&r);
}

int answer_otlp_decode(struct str body, uint64_t *ret_rejected, struct str *ret_message, struct err *err)
{
    struct rd r = rd_of(body);
    struct str text = {0};
    uint64_t rejected = 0;

    while (rd_ok(&r) && rd_left(&r) > 0) {
        uint64_t tag = rd_uvarint(&r);

        if (tag != (1 << 3 | PB_BYTES))
            skip(&r, tag);
        else if (!partial_decode(rd_lstr(&r), &rejected, &text))
            r.failed = true;
    }
    if (!rd_done(&r))
        return err_set(err, RC_CORRUPT, "the answer is no ExportMetricsServiceResponse");
    *ret_rejected = rejected;
    *ret_message = text;
    return 0;
}

static void judge_otlp(const struct http_client *c, uint32_t samples, struct answer *a)
{
    struct str message;
    uint64_t rejected;
    struct err err;

    if (answer_otlp_decode(buf_view(&c->body), &rejected, &message, &err) < 0) {
        a->fate = ANSWER_REFUSED;
        a->written = 0;
        say(a, str_of(err_text(&err)));
    } else if (rejected > 0) {
        a->fate = ANSWER_PARTIAL;
        a->written = samples - (uint32_t)MIN(rejected, samples);
        say(a, message.n ? message : STR("data points rejected without a reason"));
    }
}

static void judge_rw2(const struct http_client *c, uint32_t samples, struct answer *a)
{
    a->written = (uint32_t)MIN(c->written, samples);
    if (!c->written_said) {
        a->fate = ANSWER_REFUSED;
        say(a, STR("the answer has no X-Prometheus-Remote-Write-Samples-Written: the server does not know Remote Write 2.0"));
    } else if (a->written < samples) {
        a->fate = ANSWER_PARTIAL;
        snprintf(a->text, sizeof a->text, "%u of %u samples written, says the server", a->written, samples);
    }
}

static bool may_repeat(int status, enum protocol protocol)
{
    if (protocol == PROTOCOL_OTLP)
        return status == 429 || (status >= 502 && status <= 504);
    return status == 429 || status >= 500;
}

void answer_judge(const struct http_client *c, enum protocol protocol, bool ha, uint32_t samples, struct answer *ret)
{
    *ret = (struct answer){.fate = ANSWER_TAKEN, .written = samples};
    if (c->status < 200 || c->status >= 300) {
        ret->fate = may_repeat(c->status, protocol) ? ANSWER_REPEAT : ANSWER_REFUSED;
        ret->written = ret->fate == ANSWER_REFUSED && protocol == PROTOCOL_RW2 ? (uint32_t)MIN(c->written, samples) : 0;
        if (protocol != PROTOCOL_OTLP)
            say(ret, buf_view(&c->body));
        if (!ret->text[0])
            snprintf(ret->text, sizeof ret->text, "status %d", c->status);
    } else if (ha && c->status == 202) {
        ret->fate = ANSWER_DEDUPLICATED;
        ret->written = 0;
    } else if (protocol == PROTOCOL_RW2) {
        judge_rw2(c, samples, ret);
    } else if (protocol == PROTOCOL_OTLP) {
        judge_otlp(c, samples, ret);
    }
}
