#!/usr/bin/env python3
"""deploy/mixin/generate.py [--check]: writes alerts.yaml, rules.yaml, dashboards/*.json and docs/runbooks.md from alerts.py and the tables below; --check: says which differ.
Nothing but the standard library; YAML is written by hand, so that expressions stay readable."""
import json
import os
import sys

from alerts import GROUPS, PUSH, QUERY

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "..", "..", "docs")
SEL = 'job=~"$job", instance=~"$instance"'
RATE = "$__rate_interval"

# --- recording rules: record, expression ---
RULES = [
    ("job_route_method:torc_request_duration_seconds:rate5m", "sum by (job, route, method) (rate(torc_request_duration_seconds_count[5m]))"),
    ("job_route_status_code:torc_request_duration_seconds:rate5m", "sum by (job, route, status_code) (rate(torc_request_duration_seconds_count[5m]))"),
    ("job_route:torc_request_duration_seconds:p50", "histogram_quantile(0.5, sum by (job, route, le) (rate(torc_request_duration_seconds_bucket[5m])))"),
    ("job_route:torc_request_duration_seconds:p99", "histogram_quantile(0.99, sum by (job, route, le) (rate(torc_request_duration_seconds_bucket[5m])))"),
    ("job_method:torc_rpc_client_request_duration_seconds:p99", "histogram_quantile(0.99, sum by (job, method, le) (rate(torc_rpc_client_request_duration_seconds_bucket[5m])))"),
    ("job:torc_distributor_received_samples:rate5m", "sum by (job) (rate(torc_distributor_received_samples_total[5m]))"),
    ("job_user_reason:torc_discarded_samples:rate5m", "sum by (job, user, reason) (rate(torc_discarded_samples_total[5m]))"),
    ("job:torc_ingester_memory_series:sum", "sum by (job) (torc_ingester_memory_series)"),
    ("job:torc_querier_query_seconds:p99", "histogram_quantile(0.99, sum by (job, le) (rate(torc_querier_query_seconds_bucket[5m])))"),
    ("job:torc_querier_results_cache_hits:ratio5m", "sum by (job) (rate(torc_querier_results_cache_hits_total[5m])) / (sum by (job) (rate(torc_querier_results_cache_hits_total[5m])) + sum by (job) (rate(torc_querier_results_cache_misses_total[5m])))"),
    ("instance:process_cpu_seconds:rate5m", 'sum by (job, instance) (rate(process_cpu_seconds_total{job=~".*torc.*"}[5m]))'),
]


# --- dashboards ---
def rate(metric, by="", more=""):
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{SEL}{', ' + more if more else ''}}}[{RATE}]))"


def gauge(metric, by="instance", how="sum", more=""):
    return f"{how} by ({by}) ({metric}{{{SEL}{', ' + more if more else ''}}})"


def quantiles(metric, by="", more=""):
    sel = f"{SEL}{', ' + more if more else ''}"
    names = f" {{{{{by}}}}}" if by else ""
    return [(f"histogram_quantile({q}, sum by ({by + ', ' if by else ''}le) (rate({metric}_bucket{{{sel}}}[{RATE}])))", f"p{int(q * 100)}{names}") for q in (0.5, 0.9, 0.99)]


def panel(title, targets, unit="short", text=""):
    """targets: expressions, or (expression, legend)."""
    return {"title": title, "targets": [t if isinstance(t, tuple) else (t, "__auto") for t in (targets if isinstance(targets, list) else [targets])], "unit": unit, "text": text}


def http_rows(name, selector):
    return (name, [
        panel("Requests", (rate("torc_request_duration_seconds_count", "status_code", selector), "{{status_code}}"), "reqps"),
        panel("Duration", quantiles("torc_request_duration_seconds", more=selector), "s"),
        panel("By route", (rate("torc_request_duration_seconds_count", "route", selector), "{{route}}"), "reqps"),
        panel("In flight", (f"sum by (route) (torc_inflight_requests{{{SEL}, {selector}}})", "{{route}}")),
    ])


RPC = lambda method: panel(f"Calls: {method}", [(rate("torc_rpc_client_requests_total", "status", f'method="{method}"'), "{{status}}")], "reqps")
DASHBOARDS = {
    "overview": ("torc / Overview", [
        ("The cluster", [
            panel("Samples received", rate("torc_distributor_received_samples_total"), "wps"),
            panel("Series in memory, all replicas", gauge("torc_ingester_memory_series", "job")),
            panel("Members by state", (gauge("torc_ring_members", "state", "max"), "{{state}}")),
            panel("Members without heartbeat", gauge("torc_ring_unhealthy_members", "job", "max")),
            panel("Errors (5xx)", (rate("torc_request_duration_seconds_count", "route", 'status_code=~"5.."'), "{{route}}"), "reqps"),
            panel("Samples refused", (rate("torc_discarded_samples_total", "reason"), "{{reason}}"), "wps"),
            panel("Queries", quantiles("torc_querier_query_seconds"), "s"),
            panel("Versions", (f"count by (version, revision) (torc_build_info{{{SEL}}})", "{{version}} {{revision}}")),
        ])]),
    "writes": ("torc / Writes", [
        http_rows("Pushes", PUSH),
        ("Distributors", [
            panel("Samples received", (rate("torc_distributor_received_samples_total", "instance"), "{{instance}}"), "wps"),
            panel("Refused before work", (rate("torc_distributor_refused_requests_total", "reason"), "{{reason}}"), "reqps"),
            panel("Wait for a worker", quantiles("torc_distributor_wait_seconds"), "s"),
            panel("Work and replication", quantiles("torc_distributor_service_seconds"), "s"),
            panel("Admission window", [(gauge("torc_distributor_admission_window"), "window {{instance}}"), (gauge("torc_distributor_unanswered_requests"), "unanswered {{instance}}")]),
            panel("Answers of ingesters", (rate("torc_distributor_ingester_answers_total", "status"), "{{status}}"), "reqps"),
            panel("Answered, one ingester outstanding", (gauge("torc_distributor_lingering_bytes", "ingester"), "{{ingester}}"), "bytes"),
            panel("Labels sent, rows unknown", [(rate("torc_distributor_labels_sent_total"), "series with labels"), (rate("torc_distributor_unknown_rows_total"), "rows sent again")]),
        ]),
        ("Ingesters", [
            panel("Samples appended", (rate("torc_ingester_appended_samples_total", "instance"), "{{instance}}"), "wps"),
            panel("Wait for a shard", quantiles("torc_ingester_push_wait_seconds"), "s"),
            panel("Refused pushes", (rate("torc_ingester_refused_pushes_total", "reason"), "{{reason}}"), "reqps"),
            panel("Refused samples", (rate("torc_ingester_refused_samples_total", "reason"), "{{reason}}"), "wps"),
        ])]),
    "reads": ("torc / Reads", [
        http_rows("Query API", 'route=~".*/api/v1/.*", route!~".*(push|write|otlp).*"'),
        ("Queriers", [
            panel("Queries", quantiles("torc_querier_query_seconds"), "s"),
            panel("Failures", (rate("torc_querier_failures_total", "type"), "{{type}}"), "reqps"),
            panel("Waiting", (gauge("torc_querier_queue_length"), "{{instance}}")),
            panel("Left the queue unserved", rate("torc_querier_queue_dropped_total"), "reqps"),
            panel("Begun again", (rate("torc_querier_retries_total", "reason"), "{{reason}}"), "reqps"),
            panel("Rate limited", rate("torc_querier_rate_limited_total"), "reqps"),
            panel("Parts evaluated for others", (rate("torc_querier_fragments_total", "instance"), "{{instance}}"), "reqps"),
            panel("Memory of the largest query", (gauge("torc_querier_query_memory_peak_bytes", how="max"), "{{instance}}"), "bytes"),
        ])]),
    "queries": ("torc / Queries", [
        ("What is read", [
            panel("Series fetched", rate("torc_querier_fetched_series_total")),
            panel("Chunks fetched", rate("torc_querier_fetched_chunks_total")),
            panel("Bytes fetched", rate("torc_querier_fetched_bytes_total"), "Bps"),
            panel("Windows fetched because replicas differ", rate("torc_querier_fetched_windows_total")),
            panel("Timestamps with two values", rate("torc_querier_conflicts_total")),
            panel("Samples processed by tenant", (f"topk(10, {rate('torc_querier_samples_processed_total', 'user')})", "{{user}}")),
        ]),
        ("Caches and blocks", [
            panel("Results cache", [(rate("torc_querier_results_cache_hits_total"), "hits"), (rate("torc_querier_results_cache_misses_total"), "misses"), (rate("torc_querier_results_cache_evictions_total"), "evictions")], "ops"),
            panel("Results cache, memory", (gauge("torc_querier_results_cache_bytes"), "{{instance}}"), "bytes"),
            panel("Blocks open", (gauge("torc_querier_blocks_open"), "{{instance}}")),
            panel("Index generation", (gauge("torc_querier_index_generation", how="max"), "{{instance}}")),
            panel("Index loads", [(rate("torc_querier_index_loads_total"), "loads"), (rate("torc_querier_index_load_failures_total"), "failures")], "ops"),
        ])]),
    "ingesters": ("torc / Ingesters", [
        ("Heads", [
            panel("Series in memory", (gauge("torc_ingester_memory_series"), "{{instance}}")),
            panel("Dead shards", (gauge("torc_ingester_dead_shards"), "{{instance}}")),
            panel("Jobs that wait", (gauge("torc_ingester_shard_queue_jobs"), "{{instance}}")),
            panel("Bytes that wait", (gauge("torc_ingester_shard_queue_bytes"), "{{instance}}"), "bytes"),
        ]),
        ("Log, images, blocks", [
            panel("Log on disk", (gauge("torc_ingester_wal_bytes"), "{{instance}}"), "bytes"),
            panel("Log that a restart replays", (gauge("torc_ingester_replayable_log_bytes"), "{{instance}}"), "bytes"),
            panel("Last replay", (gauge("torc_ingester_replay_seconds", how="max"), "{{instance}}"), "s"),
            panel("Images", [(rate("torc_ingester_head_images_total"), "written"), (rate("torc_ingester_head_image_failures_total"), "failed")], "ops"),
            panel("Last image", [(gauge("torc_ingester_head_image_seconds", how="max"), "{{instance}}"), (gauge("torc_ingester_head_image_lock_seconds", how="max"), "{{instance}}, lock held")], "s"),
            panel("Image bytes", (rate("torc_ingester_head_image_bytes_total", "instance"), "{{instance}}"), "Bps"),
            panel("Flushes", [(rate("torc_ingester_flushes_total"), "flushed"), (rate("torc_ingester_flush_failures_total"), "failed")], "ops"),
        ])]),
    "compactor": ("torc / Compactor", [
        ("Runs", [
            panel("Runs", [(rate("torc_compactor_runs_total"), "runs"), (rate("torc_compactor_runs_failed_total"), "failed")], "ops"),
            panel("Since the last good run", (f"time() - max by (instance) (torc_compactor_last_successful_run_timestamp_seconds{{{SEL}}} > 0)", "{{instance}}"), "s"),
            panel("Jobs", (rate("torc_compactor_jobs_total", "kind, result"), "{{kind}} {{result}}"), "ops"),
            panel("Lag by tenant", (f"topk(10, {gauge('torc_compactor_lag_seconds', 'tenant', 'max')})", "{{tenant}}"), "s"),
        ]),
        ("Work", [
            panel("Series written", rate("torc_compactor_series_written_total")),
            panel("Samples written", rate("torc_compactor_samples_written_total"), "wps"),
            panel("Bytes written", rate("torc_compactor_bytes_written_total"), "Bps"),
            panel("Quarantined, orphans removed", [(rate("torc_compactor_blocks_quarantined_total"), "quarantined"), (rate("torc_compactor_orphans_removed_total"), "orphans removed")], "ops"),
        ])]),
    "tenants": ("torc / Tenants", [
        ("Tenants", [
            panel("Samples refused", (f"topk(20, {rate('torc_discarded_samples_total', 'user, reason')})", "{{user}} {{reason}}"), "wps"),
            panel("Samples processed by queries", (f"topk(20, {rate('torc_querier_samples_processed_total', 'user')})", "{{user}}")),
            panel("Data that wait to be merged", (f"topk(20, {gauge('torc_compactor_lag_seconds', 'tenant', 'max')})", "{{tenant}}"), "s"),
            panel("Tenants with limits of their own", (gauge("torc_runtime_config_tenants", how="max"), "{{instance}}")),
        ])]),
    "rpc": ("torc / Calls and ring", [
        ("Calls between processes", [RPC(m) for m in ("push", "select", "labels", "gossip")] + [
            panel("Duration", (f"histogram_quantile(0.99, sum by (method, le) (rate(torc_rpc_client_request_duration_seconds_bucket{{{SEL}}}[{RATE}])))", "p99 {{method}}"), "s"),
            panel("Answered", (rate("torc_rpc_server_requests_total", "method"), "{{method}}"), "reqps"),
            panel("Time to answer", (f"histogram_quantile(0.99, sum by (method, le) (rate(torc_rpc_server_request_duration_seconds_bucket{{{SEL}}}[{RATE}])))", "p99 {{method}}"), "s"),
            panel("Bytes", [(rate("torc_rpc_client_sent_bytes_total"), "sent"), (rate("torc_rpc_client_received_bytes_total"), "received")], "Bps"),
            panel("Connections", [(gauge("torc_rpc_client_connections"), "to others, {{instance}}"), (gauge("torc_rpc_server_connections"), "from others, {{instance}}")]),
            panel("Frames refused", (rate("torc_rpc_frames_refused_total", "reason"), "{{reason}}"), "ops"),
        ]),
        ("Ring", [
            panel("Members by state", (gauge("torc_ring_members", "state", "max"), "{{state}}")),
            panel("Without heartbeat", (gauge("torc_ring_unhealthy_members", how="max"), "seen by {{instance}}")),
            panel("Changes of ownership", (gauge("torc_ring_ownership_changes", how="max"), "{{instance}}")),
            panel("Unreadable, conflicts", [(gauge("torc_ring_malformed_messages", how="max"), "unreadable {{instance}}"), (gauge("torc_ring_id_conflicts", how="max"), "conflicts {{instance}}")]),
        ])]),
    "resources": ("torc / Resources", [
        ("Processes", [
            panel("CPU", (rate("process_cpu_seconds_total", "instance"), "{{instance}}")),
            panel("Resident memory", (gauge("process_resident_memory_bytes"), "{{instance}}"), "bytes"),
            panel("File descriptors", [(gauge("process_open_fds"), "{{instance}}"), (gauge("process_max_fds", how="min"), "limit {{instance}}")]),
            panel("Threads", (gauge("process_threads"), "{{instance}}")),
            panel("Uptime", (f"time() - max by (instance) (process_start_time_seconds{{{SEL}}})", "{{instance}}"), "s"),
            panel("HTTP connections", (gauge("torc_http_connections"), "{{instance}}")),
            panel("Connections closed by us", (rate("torc_http_closed_total", "reason"), "{{reason}}"), "ops"),
            panel("Known-series cache", (gauge("torc_distributor_series_cache_bytes"), "{{instance}}"), "bytes"),
        ])]),
    "configuration": ("torc / Configuration and security", [
        ("Files that are read again", [
            panel("Overrides loaded", (gauge("torc_runtime_config_last_reload_successful", how="min"), "{{instance}}")),
            panel("Since overrides were looked at", (f"time() - max by (instance) (torc_runtime_config_last_reload_success_timestamp_seconds{{{SEL}}})", "{{instance}}"), "s"),
            panel("Users loaded", (gauge("torc_auth_users_last_reload_successful", how="min"), "{{instance}}")),
            panel("Users", (gauge("torc_auth_users", how="max"), "{{instance}}")),
            panel("Certificate loaded", (gauge("torc_tls_last_reload_successful", how="min"), "{{instance}}")),
            panel("Certificate ends in", (f"min by (instance) (torc_tls_certificate_expiry_timestamp_seconds{{{SEL}}}) - time()", "{{instance}}"), "s"),
            panel("Refused for who asked", (rate("torc_auth_refused_total", "reason"), "{{reason}}"), "reqps"),
            panel("Admin calls", (rate("torc_request_duration_seconds_count", "route, status_code", 'method="POST", route=~"/(ingester|compactor|distributor)/.*"'), "{{route}} {{status_code}}"), "reqps"),
        ])]),
}


def dashboard(uid, title, rows):
    panels, y, number = [], 0, 0
    source = {"type": "prometheus", "uid": "${datasource}"}
    for name, content in rows:
        panels.append({"id": number + 1, "type": "row", "title": name, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []})
        number, y = number + 1, y + 1
        for i, p in enumerate(content):
            panels.append({
                "id": number + 1, "type": "timeseries", "title": p["title"], "datasource": source, "gridPos": {"h": 7, "w": 12, "x": 12 * (i % 2), "y": y + 7 * (i // 2)},
                "fieldConfig": {"defaults": {"unit": p["unit"], "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                "targets": [{"refId": chr(65 + k), "datasource": source, "expr": expr, "legendFormat": legend} for k, (expr, legend) in enumerate(p["targets"])]})
            number += 1
        y += 7 * ((len(content) + 1) // 2)

    def variable(name, query, label):
        return {"name": name, "label": label, "type": "query", "datasource": source, "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1,
                "multi": True, "includeAll": True, "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return {"uid": f"torc-{uid}", "title": title, "tags": ["torc"], "schemaVersion": 38, "version": 1, "editable": True, "timezone": "", "refresh": "1m", "time": {"from": "now-3h", "to": "now"},
            "links": [{"type": "dashboards", "tags": ["torc"], "asDropdown": True, "title": "torc", "includeVars": True, "keepTime": True}],
            "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "current": {}},
                                    variable("job", "label_values(torc_build_info, job)", "Job"), variable("instance", 'label_values(torc_build_info{job=~"$job"}, instance)', "Instance")]},
            "panels": panels}


def block(text, indent):
    return "|-\n" + "\n".join(" " * indent + line for line in text.split("\n"))


def alerts_yaml():
    out = "# Written by deploy/mixin/generate.py from alerts.py.\ngroups:\n"
    for group, alerts in GROUPS.items():
        out += f"- name: torc_{group}\n  rules:\n"
        for name, severity, wait, expr, summary, means, *_ in alerts:
            out += f"  - alert: {name}\n    expr: {block(expr, 6)}\n    for: {wait}\n    labels:\n      severity: {severity}\n    annotations:\n"
            out += f"      summary: {json.dumps(summary)}\n      description: {json.dumps(means)}\n      runbook_url: docs/runbooks.md#{name.lower()}\n"
    return out


def rules_yaml():
    out = "# Written by deploy/mixin/generate.py.\ngroups:\n- name: torc_rules\n  rules:\n"
    for record, expr in RULES:
        out += f"  - record: {record}\n    expr: {block(expr, 6)}\n"
    return out


def runbooks():
    out = ("# Runbooks\n\nOne section for each alert of `deploy/mixin/alerts.yaml`. Pages such as `/memberlist` are those of any process of the cluster (docs/admin.md); queries are for the Prometheus "
           "that scrapes it.\nWritten by `deploy/mixin/generate.py` from `deploy/mixin/alerts.py`.\n")
    for group, alerts in GROUPS.items():
        out += f"\n## {group.capitalize()}\n"
        for name, severity, wait, expr, _, means, look, do, dont in alerts:
            out += f"\n### {name}\n\nSeverity {severity}" + (f", after {wait}" if wait != "0m" else "") + f".\n\n```\n{expr}\n```\n\n"
            out += f"**What it means.** {means}\n\n**Where to look.** {look}\n\n**What to do.** {do}\n\n**What not to do.** {dont}\n"
    return out


def files():
    out = {os.path.join(HERE, "alerts.yaml"): alerts_yaml(), os.path.join(HERE, "rules.yaml"): rules_yaml(), os.path.join(DOCS, "runbooks.md"): runbooks()}
    for uid, (title, rows) in DASHBOARDS.items():
        out[os.path.join(HERE, "dashboards", f"{uid}.json")] = json.dumps(dashboard(uid, title, rows), indent=1) + "\n"
    return out


def main():
    stale = []
    for path, text in files().items():
        if "--check" in sys.argv:
            old = open(path, encoding="utf-8").read() if os.path.exists(path) else None
            if old != text:
                stale.append(os.path.relpath(path))
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    for path in stale:
        print(f"{path} is not what generate.py writes")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
