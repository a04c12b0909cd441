/* postings.h - the inverted index of a head: (tenant, name, value) -> ascending ordinals of series.
 * A (tenant, name, value) is a *pair* with a small id; a series keeps its labels as pair ids, so
 * that "does this series have this label" is a comparison of integers. Lists are delta varints, the
 * first 8 bytes in place: about 1.3 bytes per entry for labels that many series share. Nothing is
 * removed one by one: postings_rebuild() drops and renumbers ordinals in one pass. One owner at a
 * time. */
#pragma once
#include "tsdb/idtab.h"
#include "tsdb/symbols.h"

enum { POSTINGS_INLINE = 8 };

struct posting_list {
    uint32_t count, last; /* last: the greatest ordinal */
    uint32_t n, cap;      /* bytes used; cap 0: in place */
    union {
        uint8_t *p;
        uint8_t inl[POSTINGS_INLINE];
    };
};
void posting_list_add(struct posting_list *l, uint32_t ordinal); /* greater than all in it */
void posting_list_fini(struct posting_list *l);
/* map[ordinal] is the new ordinal (order is kept) or ID_NONE: gone. */
void posting_list_remap(struct posting_list *l, const uint32_t *map);

struct posting_iter {
    const uint8_t *p, *end;
    uint32_t at;
};
static inline struct posting_iter posting_iter_of(const struct posting_list *l)
{
    const uint8_t *p = l->cap ? l->p : l->inl;

    return (struct posting_iter){p, p + l->n, 0};
}
static inline bool posting_next(struct posting_iter *it, uint32_t *ret)
{
    uint32_t delta = 0;
    unsigned shift = 0;

    if (it->p == it->end)
        return false;
    while (*it->p >= 0x80) {
        delta |= (uint32_t)(*it->p++ & 0x7f) << shift;
        shift += 7;
    }
    delta |= (uint32_t)*it->p++ << shift;
    it->at += delta;
    *ret = it->at;
    return true;
}

struct pair {
    uint32_t name;  /* index of a name entry */
    uint32_t value; /* symbol */
    struct posting_list list;
};
struct postings_name {
    uint32_t tenant;
    uint32_t symbol; /* ID_NONE: free entry */
    uint32_t n, cap;
    uint32_t *pairs; /* every value of the name, unsorted */
};

struct postings;
/* syms: borrowed, must outlive it. */
struct postings *postings_new(struct symbols *syms);
void postings_free(struct postings *p);

/* Finds or makes. */
uint32_t postings_pair_make(struct postings *p, uint32_t tenant, struct str name, struct str value);
uint32_t postings_pair_find(const struct postings *p, uint32_t tenant, struct str name,
                            struct str value); /* or ID_NONE */
void postings_add(struct postings *p, uint32_t pair, uint32_t ordinal);
const struct pair *postings_pair(const struct postings *p, uint32_t pair);
uint32_t postings_pair_bound(const struct postings *p); /* all pair ids are below */
struct str postings_pair_name(const struct postings *p,
                              uint32_t pair); /* borrowed, as symbols_text */
struct str postings_pair_value(const struct postings *p, uint32_t pair);
bool postings_pair_is(const struct postings *p, uint32_t pair, struct str name, struct str value);

/* NULL when the tenant has no such name. Valid until the next change. */
const struct postings_name *postings_name_find(const struct postings *p, uint32_t tenant,
                                               struct str name);
/* Entries [0, bound); free ones have symbol ID_NONE. */
const struct postings_name *postings_name_at(const struct postings *p, uint32_t i);
uint32_t postings_name_bound(const struct postings *p);

/* See posting_list_remap; pairs and names without series go, and their symbols. Ids of the rest
 * stay. */
void postings_rebuild(struct postings *p, const uint32_t *map);
/* What belongs to one pair: its list; its texts, by the part of those who hold them; 0 for one without series. The first pair of a name has the name's. */
struct postings_memory {
    uint32_t tenant;
    size_t list, texts;
};
bool postings_pair_memory(const struct postings *p, uint32_t pair, struct postings_memory *ret);
/* What all pairs share: arrays and tables of pairs and names, in list; of symbols, in texts. */
struct postings_memory postings_shared_memory(const struct postings *p);
