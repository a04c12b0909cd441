/* loadgen.h - `torc loadgen`: writes generated or recorded series to a remote-write or OTLP endpoint at a planned pace, asks queries meanwhile, reports
 * what came of it, and reads everything back to judge it. For its users: docs/loadgen.md.
 *
 * Open loop: every request has a due time, and its latency counts from then, so a slow server cannot slow the clock down that measures it
 * (no coordinated omission). Like Prometheus's shards, a connection owns its series and repeats a refused request, byte for byte, until it is
 * taken; unlike them it gives up after --give-up, and says so.
 *
 * Values are computed from (seed, tenant, series, timestamp), see model.h. So a later process, even on another machine, can judge any answer from
 * the history file alone: which batches were sent when, and which were acknowledged (history.h, judge.h).
 *
 *   options.h     flags                             model.h       labels and values of the series, pure
 *   exposition.h  reads a scrape's text             recording.h   its series, to be sent again
 *   batch.h       a request in three protocols      skeleton.h    a message with its changing bytes marked
 *   snappy_pack.h compressed so that it can be      image.h       a request's bytes, round after round
 *                 patched                           compress.h    whole bodies
 *   plan.h        what is due when, pure            send.h        the event loop
 *   http_client.h keep-alive connections that       answer.h      what an answer means, pure
 *                 never block                       ask.h         the query load
 *   history.h     what was sent and acknowledged    judge.h       one series' answer against it, pure
 *   verify.h      reads all back                    latency.h     percentiles
 *   report.h      text, JSON, thresholds            exporter.h    the same as metrics
 *   signals.h     ends in order
 * Threads: one; those of the metrics endpoint touch the registry only. */
#pragma once

/* argv without the program's and the command's name. Returns the exit code: 0 fine, 1 could not run or nothing was acknowledged, 2 a threshold or
 * the verification failed. */
int loadgen_main(int argc, char **argv);
