/* loadgen.h - `torc loadgen`: writes generated series to a Remote Write 1.0 endpoint at a planned pace, reports what came of it, and reads
 * everything back to judge it.
 *
 * Open loop: every request has a due time, and its latency counts from then, so a slow server cannot slow the clock down that measures it
 * (no coordinated omission). Like Prometheus's shards, a connection owns its series and repeats a refused request, byte for byte, until it is
 * taken; unlike them it gives up after --give-up, and says so.
 *
 * Values are computed from (seed, tenant, series, timestamp), see model.h. So a later process, even on another machine, can judge any answer from
 * the history file alone: which batches were sent when, and which were acknowledged (history.h, judge.h).
 *
 *   options.h     flags                          model.h       labels and values of the series, pure
 *   image.h       a request's bytes              http_client.h keep-alive connections that never block
 *   send.h        the event loop                 latency.h     percentiles
 *   history.h     what was sent and acknowledged judge.h       one series' answer against it, pure
 *   verify.h      reads all back                 report.h      text, JSON, thresholds
 * Threads: one. */
#pragma once

/* argv without the program's and the command's name. Returns the exit code: 0 fine, 1 could not run, 2 a threshold or the verification failed. */
int loadgen_main(int argc, char **argv);
