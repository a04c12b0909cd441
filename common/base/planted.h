/* planted.h - bugs on purpose, to show that the tests find what they say they find: tests/chaos/planted. Only in builds with TORC_PLANTED, and there only the one that
 * the environment names: TORC_PLANT=no-crc-on-replay. In every other build PLANTED() is a constant false. */
#pragma once
#include "common/base/base.h"

#ifdef TORC_PLANTED
bool planted_here(const char *name);
#define PLANTED(name) planted_here(name)
#else
#define PLANTED(name) false
#endif
