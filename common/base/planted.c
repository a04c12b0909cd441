#include "common/base/planted.h"

#ifdef TORC_PLANTED
#include <stdlib.h>
#include <string.h>

bool planted_here(const char *name)
{
    const char *which = getenv("TORC_PLANT");

    return which && strcmp(which, name) == 0;
}
#else
typedef int planted_nothing;
#endif
