#!/usr/bin/env python3
"""tests/interop/blocktool.py: blocks of a real Prometheus, with native histograms and with deleted samples, are imported by `torc blocks`; a torc that has nothing but that bucket
must answer as that Prometheus does. Exports go back into Prometheus blocks by promtool and must be the same samples. Broken and damaged sources are refused with nothing
published. Ends with "N passed, N failed"."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from procs import BINARY, Api, Cases, Scratch, free_port, http, say, wait_until

HOUR = 3600
TENANT = "imported"


def blocks(*args, ok=(0,), cases=None, what=None):
    done = subprocess.run([BINARY, "blocks", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if cases:
        cases.check(what, done.returncode in ok, done.returncode, done.stdout[-300:], done.stderr[-600:])
    return done


class Prometheus:
    def __init__(self, scratch, name):
        self.scratch, self.name, self.dir, self.port = scratch, name, scratch.path(name), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = scratch.path("prometheus.yml")
        with open(self.config, "w", encoding="ascii") as f:
            f.write("storage: {tsdb: {out_of_order_time_window: 60d}}\n")

    def start(self):
        self.scratch.start(self.name, "prometheus", f"--config.file={self.config}", f"--storage.tsdb.path={self.dir}", f"--web.listen-address=127.0.0.1:{self.port}",
                           "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--enable-feature=native-histograms", "--storage.tsdb.retention.time=100y")
        wait_until("a Prometheus", 60, lambda: http(f"{self.url}/-/ready")[0] == 200)

    def post(self, path, **params):
        status, body = http(f"{self.url}/api/v1/{path}", params, method="POST")
        if status not in (200, 204):
            raise RuntimeError(f"{path}: {status} {body[:300]}")
        return body

    def snapshot(self):
        return os.path.join(self.dir, "snapshots", json.loads(self.post("admin/tsdb/snapshot"))["data"]["name"])


def fill(scratch, prometheus):
    """26 hours of all kinds of series, native histograms among them."""
    done = subprocess.run([BINARY, "loadgen", f"--url={prometheus.url}/api/v1/write", "--series=300", "--native-histograms=20", "--interval=60s", "--backfill=26h", "--rounds=1560",
                           "--max", "--batch=5000", "--connections=1", "--quiet", "--special"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the generator: {done.stdout[-1000:]} {done.stderr[-1000:]}")


def same_answers(cases, prometheus, torc, end, names):
    queries = ["count({__name__!=\"\"})", "sum by (job) (rate(http_requests_total[5m]))"]
    for name in names:
        queries += [f"count_over_time({name}[4h])", name, f"count(changes({name}[90m]))"]
    for q in queries:
        a, b = (sorted(json.dumps(r, sort_keys=True) for r in api.data("query", query=q, time=end)["result"]) for api in (prometheus, torc))
        cases.check(f"the same answer: {q}", a == b, *(x for pair in list(p for p in zip(a, b) if p[0] != p[1])[:2] for x in pair), len(a), len(b))
    for q in [f"max by (instance) ({names[0]})", f"{names[1]}"]:
        a, b = (sorted(json.dumps(r, sort_keys=True) for r in api.data("query_range", query=q, start=end - 3 * HOUR, end=end, step=60)["result"]) for api in (prometheus, torc))
        cases.check(f"the same range: {q}", a == b and a, len(a), len(b))


def samples(cases, what, directory):
    """A digest of all samples that promtool finds there."""
    os.makedirs(os.path.join(directory, "wal"), exist_ok=True)
    done = subprocess.run(["promtool", "tsdb", "dump", directory], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    cases.check(f"promtool reads {what}", done.returncode == 0, done.stderr[-300:])
    return sorted(done.stdout.splitlines())


def text_cases(cases, scratch):
    """Text to blocks to text to Prometheus blocks."""
    source, bucket = scratch.path("source.om"), scratch.path("text-bucket")
    start = int(time.time()) // 86400 * 86400 - 3 * 86400 - 1800
    with open(source, "w", encoding="ascii") as f:
        for i in range(20):
            for r in range(900):
                f.write(f'lines{{i="{i}",path="a\\\\b\\"c\\nd"}} {i * 1000 + r * r % 97 / 10 if r % 53 else "NaN"} {start + r * 240 + i / 10:.3f}\n')
        f.write("# EOF\n")
    done = blocks("import-text", source, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet", cases=cases, what="a text is imported")
    cases.check("in days", "18000 of 18000 samples" in done.stdout and "4 blocks" in done.stdout, done.stdout)
    done = blocks("import-text", source, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet")
    cases.check("once", "0 of 18000 samples" in done.stdout and "4 ranges of time were there already" in done.stdout, done.stdout)
    done = blocks("export", f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet", cases=cases, what="and exported")
    with open(scratch.path("export.om"), "w", encoding="utf-8") as f:
        f.write(done.stdout)
    for name in ("source", "export"):
        made = subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", scratch.path(f"{name}.om"), scratch.path(f"{name}-blocks")], capture_output=True, text=True, check=False)
        cases.check(f"promtool takes the {name}", made.returncode == 0, made.stderr[-500:])
    a, b = samples(cases, "what it made of the source", scratch.path("source-blocks")), samples(cases, "what it made of the export", scratch.path("export-blocks"))
    cases.check("the export has the samples of the source", len(a) == 18000 and a == b, len(a), len(b))
    done = blocks("import", scratch.path("source-blocks"), f"--bucket={bucket}-2", f"--tenant={TENANT}", "--quiet", cases=cases, what="promtool's blocks are imported")
    done = blocks("export", f"--bucket={bucket}-2", f"--tenant={TENANT}", "--quiet", f"--start={start}", f"--end={start + 100}", '--match={i=~"1."}')
    cases.check("a part is exported", done.stdout.count("\n") == 11 and 'i="10"' in done.stdout and 'i="2"' not in done.stdout, done.stdout[:300])
    for name, text, want in [("no timestamp", "a 1\n# EOF\n", "line 1: a sample without a timestamp"), ("two values", "a 1 1000\na 2 1000\n# EOF\n", "has two values"),
                             ("no text", "a{ 1 2\n", "line 1"), ("nothing", "# EOF\n", "no sample")]:
        with open(scratch.path("bad.om"), "w", encoding="ascii") as f:
            f.write(text)
        done = blocks("import-text", scratch.path("bad.om"), f"--bucket={bucket}-3", f"--tenant={TENANT}", "--quiet", ok=(2,), cases=cases, what=f"{name} is refused")
        cases.check(f"{name}: the reason", want in done.stderr, done.stderr)
    cases.check("and nothing of it is published", not glob.glob(f"{bucket}-3/tenants/*/index/*.json"))


def damage_cases(cases, scratch, source):
    """One byte at a time, in every file that is read: refused, or the same samples."""
    copy = scratch.path("damaged")
    block = os.path.join(copy, os.path.basename(os.path.dirname(sorted(glob.glob(os.path.join(source, "*", "meta.json")))[0])))
    shutil.copytree(os.path.join(source, os.path.basename(block)), block)
    buckets = iter(scratch.path(f"damaged-bucket-{i}") for i in range(1000))

    def samples_of(bucket):
        return blocks("export", f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet").stdout

    def attempt(what):
        """Imports into a bucket of its own. True: refused, with the reason, and nothing published."""
        bucket = next(buckets)
        done = blocks("import", copy, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet")
        if done.returncode == 0:
            return cases.check(f"{what}: inert", samples_of(bucket) == whole) and False
        named = any(word in done.stderr for word in ("corrupt", "version", "damaged", "no chunk segment"))
        return cases.check(f"{what}: refused", done.returncode == 2 and named and not glob.glob(f"{bucket}/tenants/*/index/*.json"), done.returncode, done.stderr)

    bucket = next(buckets)
    blocks("import", copy, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet", cases=cases, what="the block as it is")
    whole = samples_of(bucket)
    for name, most_inert in (("index", 4), ("chunks/000001", 0)):
        path = os.path.join(block, name)
        size, refused = os.path.getsize(path), 0
        spots = [0, 4, 9, 40, size // 10, size // 5, size // 3, size - 5, size - 40] if name == "index" else [0, 4, 9, 10, size // 3, size // 2, size - 2]
        for at in spots:
            with open(path, "r+b") as f:
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 0x10]))
            refused += attempt(f"a flipped bit at {at} of {name}")
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(byte)
        # Of the index the symbols, the series and the table of contents are read.
        cases.check(f"most of {name} is read", refused >= len(spots) - most_inert, refused, len(spots))
        with open(path, "rb") as f:
            all_of_it = f.read()
        with open(path, "wb") as f:
            f.write(all_of_it[:size * 2 // 3])
        cases.check(f"a truncated {name} is refused", attempt(f"{name} truncated"))
        with open(path, "wb") as f:
            f.write(all_of_it)


def killed_cases(cases, scratch, source):
    """An import that is killed leaves nothing half; started again it finishes."""
    bucket = scratch.path("killed-bucket")
    for after in (0.05, 0.2, 0.6):
        p = subprocess.Popen([BINARY, "blocks", "import", source, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(after)
        p.send_signal(signal.SIGKILL)
        p.wait()
        blocks("verify", f"--bucket={bucket}", f"--tenant={TENANT}", cases=cases, what=f"killed after {after} s: what is published is whole")
    blocks("import", source, f"--bucket={bucket}", f"--tenant={TENANT}", "--quiet", cases=cases, what="it is started again")
    return bucket


def tool_cases(cases, bucket, other):
    """list, inspect, verify, dump, diff."""
    listed = json.loads(blocks("list", f"--bucket={bucket}", "--json").stdout)
    cases.check("list has the blocks", len(listed) >= 2 and all(b["tenant"] == TENANT and b["state"] == "live" for b in listed), listed)
    block = listed[0]["block"]
    done = blocks("inspect", block, f"--bucket={bucket}", cases=cases, what="inspect")
    cases.check("inspect tells the tenant and the samples", f"tenant     {TENANT}" in done.stdout and f"samples    {listed[0]['samples']}" in done.stdout, done.stdout)
    done = blocks("verify", f"--bucket={bucket}", cases=cases, what="verify")
    cases.check("verify names every block", done.stdout.count(" good ") == len(listed), done.stdout)
    done = blocks("dump", block, f"--bucket={bucket}", '--match={__name__=~".+"}', cases=cases, what="dump")
    cases.check("dump prints every sample", sum(line.startswith("  1") for line in done.stdout.splitlines()) == listed[0]["samples"], done.stdout[:300])
    same = json.loads(blocks("list", f"--bucket={other}", "--json").stdout)
    twin = next(b for b in same if b["minTime"] == listed[0]["minTime"] and b["samples"] == listed[0]["samples"])
    shutil.copytree(os.path.join(other, "blocks", twin["block"]), os.path.join(bucket, "blocks", twin["block"]), dirs_exist_ok=True)
    done = blocks("diff", block, twin["block"], f"--bucket={bucket}", cases=cases, what="the same import twice is no difference")
    cases.check("diff says so", "no difference" in done.stdout, done.stdout[:300])
    done = blocks("diff", block, listed[1]["block"], f"--bucket={bucket}", ok=(1,), cases=cases, what="other blocks differ")
    path = os.path.join(bucket, "blocks", twin["block"], "chunks.sst")
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([byte[0] ^ 1]))
    done = blocks("verify", twin["block"], f"--bucket={bucket}", ok=(1,), cases=cases, what="verify finds a flipped bit")
    cases.check("and names the file", "BAD" in done.stdout and "chunks" in done.stdout, done.stdout)
    for args, want in [(("inspect", "x"), "is no block"), (("list", "--nope"), "unknown option"), (("inspect", "01M8Q5VEVYDNEVE5MJ1KQ472G2"), "meta.json"), (("import", "/nowhere"), "which tenant")]:
        done = blocks(*args, f"--bucket={bucket}", ok=(2,), cases=cases, what=f"{args}: refused")
        cases.check(f"{args}: {want}", want in done.stderr, done.stderr)


def main():
    cases = Cases()
    with Scratch("blocktool") as scratch:
        say("a Prometheus takes 26 hours")
        first = Prometheus(scratch, "prometheus")
        first.start()
        fill(scratch, first)
        snapshot = first.snapshot()
        scratch.stop("prometheus")
        # A second one on that, so that deleted samples stand in tombstones.
        second = Prometheus(scratch, "prometheus-2")
        shutil.copytree(snapshot, second.dir)
        second.start()
        api = Api(second.url)
        names = sorted(n for n in api.data("label/__name__/values"))
        end = int(time.time())
        second.post("admin/tsdb/delete_series", **{"match[]": names[0], "start": end - 2 * HOUR, "end": end - HOUR})
        cases.check("there are tombstones", any(os.path.getsize(p) > 9 for p in glob.glob(os.path.join(second.dir, "*", "tombstones"))))
        say("import")
        bucket = killed_cases(cases, scratch, second.dir)
        other = scratch.path("bucket-2")
        done = blocks("import", second.dir, f"--bucket={other}", f"--tenant={TENANT}", cases=cases, what="an import")
        say(done.stderr.strip().splitlines()[-1])
        tool_cases(cases, other, bucket)
        say("a torc on that bucket")
        port = free_port()
        scratch.start("torc", BINARY, "--target=all", f"--data-dir={scratch.path('torc')}", f"--bucket.url={bucket}", "--server.http-listen-address=127.0.0.1",
                      f"--server.http-listen-port={port}", f"--server.rpc-listen-address=127.0.0.1:{free_port()}")
        wait_until("a torc", 60, lambda: http(f"http://127.0.0.1:{port}/ready")[0] == 200)
        same_answers(cases, api, Api(f"http://127.0.0.1:{port}/prometheus", TENANT), end, names)
        damage_cases(cases, scratch, second.dir)
        text_cases(cases, scratch)
        scratch.keep = cases.failed > 0
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
