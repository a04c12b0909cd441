/* log.h - structured logs: a sentence plus keys, logfmt (default) or JSON, one line each, to stderr or a file.
 *   log_warn(log, "block not shipped, will retry", "tenant", t, "block", ulid, "err", err_log(&err));
 * Keys and values are NUL-terminated strings in pairs; numbers through log_i64/log_f64 (static per thread, 8 per line).
 * Libraries return errors; roles log, once. Anything that a client can trigger goes through log_limited. */
#pragma once
#include "common/base/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };
struct log;

struct log *log_new(int fd, enum log_level level, enum log_format format); /* fd borrowed */
void log_free(struct log *l);
void log_set_level(struct log *l, enum log_level level);
/* Thread-safe. Ends with a NULL key; use the macros. */
void log_write(struct log *l, enum log_level level, const char *file, int line, const char *msg, ...)
    __attribute__((sentinel));
#define log_debug(l, msg, ...) log_write(l, LOG_DEBUG, __FILE__, __LINE__, msg, ##__VA_ARGS__, NULL)
#define log_info(l, msg, ...)  log_write(l, LOG_INFO, __FILE__, __LINE__, msg, ##__VA_ARGS__, NULL)
#define log_warn(l, msg, ...)  log_write(l, LOG_WARN, __FILE__, __LINE__, msg, ##__VA_ARGS__, NULL)
#define log_error(l, msg, ...) log_write(l, LOG_ERROR, __FILE__, __LINE__, msg, ##__VA_ARGS__, NULL)
const char *log_i64(int64_t v);
const char *log_f64(double v);
/* At most one line a second from this place; the next line carries "suppressed". */
#define log_limited(l, level, msg, ...)                                                            \
    do {                                                                                           \
        static struct log_gate gate_;                                                              \
        if (log_gate_open(&gate_))                                                                 \
            log_write(l, level, __FILE__, __LINE__, msg, ##__VA_ARGS__, "suppressed",              \
                      log_i64(log_gate_suppressed(&gate_)), NULL);                                 \
    } while (0)
struct log_gate {
    _Atomic int64_t next_ns, suppressed, taken;
};
bool log_gate_open(struct log_gate *g);
int64_t log_gate_suppressed(struct log_gate *g);
