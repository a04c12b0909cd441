/* prom_block.h - reads a block directory of a Prometheus TSDB (meta.json, index version 2, chunks/, tombstones), to import it.
 * Sources: prometheus/tsdb/docs/format (index.md, chunks.md, tombstones.md). Only the symbol table and the series are read of the index: both stand in label
 * order, and so come the series. Every checksum is checked. Files are mapped: memory is the kernel's to take back. One thread at a time. */
#pragma once
#include "common/base/arena.h"
#include "common/model/labels.h"
#include "tsdb/chunk.h"

enum { PROM_SYMBOLS_MAX = 1 << 27, PROM_SEGMENTS_MAX = 1 << 16, PROM_TOMBSTONES_MAX = 1 << 22 };

struct prom_block_meta {
    char ulid[27];
    int64_t mint_ms, maxt_ms; /* [mint, maxt) */
    uint64_t series, samples;
};

struct prom_block;
/* Errors name the file: RC_NOT_FOUND (no block), RC_VERSION, RC_CORRUPT, RC_IO. */
int prom_block_open(const char *dir, struct prom_block **ret, struct err *err);
void prom_block_free(struct prom_block *b);
const struct prom_block_meta *prom_block_meta(const struct prom_block *b);
/* 1: the next series, its samples in time order (possibly none: all deleted); labels borrow from the block, the rest is in the arena. 0: the end. RC_NOMEM. */
int prom_block_next(struct prom_block *b, struct arena *a, struct labels *ret, struct chunk_columns *ret_samples, struct err *err);
void prom_block_rewind(struct prom_block *b);
