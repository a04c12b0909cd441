/* symbols.h - interned strings with reference counts: each text once per head, given back when
 * nobody holds it. Ids are small integers, used again after their string has gone. The bytes of a
 * symbol do not move while it is held, so a borrowed str stays valid without any lock as long as
 * somebody holds a reference. Strings are hashed under the process's secret, because clients choose
 * them. One owner at a time. */
#pragma once
#include "common/base/str.h"

struct symbols;

struct symbols *symbols_new(void);
void symbols_free(struct symbols *s);
/* Copies text when it is new; takes one reference. */
uint32_t symbols_take(struct symbols *s, struct str text);
void symbols_drop(struct symbols *s, uint32_t id);
/* ID_NONE (idtab.h) when unknown; takes no reference. */
uint32_t symbols_find(const struct symbols *s, struct str text);
/* Gives memory of the highest ids back when they are free; free ids are used again from the lowest. */
void symbols_trim(struct symbols *s);
struct str symbols_text(const struct symbols *s,
                        uint32_t id); /* borrowed while a reference is held */
size_t symbols_count(const struct symbols *s);
/* Memory: the text, by the part of each of those who hold it; and what belongs to no symbol alone. */
size_t symbols_share(const struct symbols *s, uint32_t id);
size_t symbols_shared_memory(const struct symbols *s);
