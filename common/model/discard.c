#include "common/model/discard.h"

const char *discard_text(enum discard_reason r)
{
    static const char *const texts[] = {
        "none",
#define X(id, text) text,
        DISCARD_REASONS(X)
#undef X
    };

    ASSERT(r < DISCARD_COUNT);
    return texts[r];
}
