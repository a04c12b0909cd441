#include "common/rpc/rpc_metrics.h"

void rpc_metrics_init(struct rpc_metrics *rm, struct metrics *m, bool server)
{
    static const char *const by_status[] = {"method", "status", NULL};
    static const char *const by_method[] = {"method", NULL};
    static const char *const by_reason[] = {"reason", NULL};
    struct metric_family *refused;

    if (!m)
        return;
    refused = metrics_family(m, METRIC_COUNTER, "torc_rpc_frames_refused_total",
                             "Frames that were damaged, too long, or of another cluster or version.", by_reason);
    for (int i = 0; i < FRAME_REFUSALS; i++)
        rm->refused[i] = metric_with(refused, frame_refusal_name((enum frame_refusal)i), NULL);
    if (server) {
        rm->duration = metrics_family(m, METRIC_HISTOGRAM, "torc_rpc_server_request_duration_seconds",
                                      "From the last byte of a request to its answer.", by_method);
        rm->sent_bytes = metrics_counter(m, "torc_rpc_server_sent_bytes_total", "Payload bytes answered.");
        rm->received_bytes =
            metrics_counter(m, "torc_rpc_server_received_bytes_total", "Payload bytes of requests.");
        rm->connections = metrics_gauge(m, "torc_rpc_server_connections", "Open connections.");
        rm->requests    = metrics_family(m, METRIC_COUNTER, "torc_rpc_server_requests_total",
                                         "Requests answered, by method and status.", by_status);
    } else {
        rm->duration = metrics_family(m, METRIC_HISTOGRAM, "torc_rpc_client_request_duration_seconds",
                                      "From sending a request to its answer or failure.", by_method);
        rm->sent_bytes = metrics_counter(m, "torc_rpc_client_sent_bytes_total", "Payload bytes of requests.");
        rm->received_bytes =
            metrics_counter(m, "torc_rpc_client_received_bytes_total", "Payload bytes of answers.");
        rm->connections = metrics_gauge(m, "torc_rpc_client_connections", "Open connections.");
        rm->requests    = metrics_family(m, METRIC_COUNTER, "torc_rpc_client_requests_total",
                                         "Requests ended, by method and status.", by_status);
    }
}

void rpc_metrics_done(struct rpc_metrics *rm, unsigned method, int rc, int64_t ns)
{
    unsigned row = method < RPC_METHODS_MAX ? method : 0;
    unsigned col = (unsigned)MIN(-rc, RPC_STATUS_SLOTS - 1);
    struct metric *count, *seconds;

    ASSERT(rc <= 0);
    if (!rm->requests)
        return;
    /* Two threads may both ask the registry the first time: it gives them the same child. */
    count = atomic_load_explicit(&rm->count[row][col], memory_order_acquire);
    if (!count) {
        count = metric_with(rm->requests, rpc_method_name(row), rc_name(rc), NULL);
        atomic_store_explicit(&rm->count[row][col], count, memory_order_release);
    }
    seconds = atomic_load_explicit(&rm->seconds[row], memory_order_acquire);
    if (!seconds) {
        seconds = metric_with(rm->duration, rpc_method_name(row), NULL);
        atomic_store_explicit(&rm->seconds[row], seconds, memory_order_release);
    }
    metric_inc(count);
    metric_observe(seconds, (double)ns / 1e9);
}

void rpc_metrics_bytes(struct rpc_metrics *rm, size_t sent, size_t received)
{
    if (!rm->requests)
        return;
    if (sent)
        metric_add(rm->sent_bytes, sent);
    if (received)
        metric_add(rm->received_bytes, received);
}

void rpc_metrics_connections(struct rpc_metrics *rm, int delta)
{
    if (rm->requests)
        metric_add_f64(rm->connections, delta);
}

void rpc_metrics_refused(struct rpc_metrics *rm, enum frame_refusal why)
{
    if (rm->requests)
        metric_inc(rm->refused[why]);
}
