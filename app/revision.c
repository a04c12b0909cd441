#include "app/app.h"

#if __has_include("app/revision.h")
#include "app/revision.h" /* made by the build when git is there */
#endif
#ifndef TORC_REVISION
#define TORC_REVISION "unknown"
#endif

const char *app_revision(void)
{
    return TORC_REVISION;
}
