/* answer.h - answers of the HTTP API as query results. */
#pragma once
#include "backend.h"

/* RC_EXECUTION with the server's text when the answer is an error; RC_CORRUPT when it is not what
 * the API promises. Histograms are struct api_histogram (backend.h). Memory from the arena. */
int answer_parse(struct str json, struct arena *a, struct query_result *ret, struct err *err);
/* The same form of a histogram that is at hand. */
const struct histogram *answer_histogram(const struct histogram *h, struct arena *a);
