// An application with the OpenTelemetry SDK: records a known set of measurements, exports them once, says how that went.
//   node sender.mjs URL {proto|json} {gzip|none} {cumulative|delta} NAME [HEADER=VALUE...]
// NAME becomes service.name. Prints one line of JSON: {"code": 0 or 1, "error": "...", "partial": [...]}.
import { diag, DiagLogLevel } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationTemporality, AggregationType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { OTLPMetricExporter as JsonExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';

const [url, form, compression, temporality, name, ...headerArgs] = process.argv.slice(2);
const headers = Object.fromEntries(headerArgs.map((h) => h.split('=')));
const exporter = new (form === 'json' ? JsonExporter : ProtoExporter)({
  url,
  headers,
  compression: compression === 'gzip' ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
  temporalityPreference: temporality === 'delta' ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE,
  timeoutMillis: 20000,
});

// A partial success reaches applications as a warning of the SDK.
const warnings = [];
const note = (...args) => warnings.push(args.map((a) => (typeof a === 'string' ? a : JSON.stringify(a))).join(' '));
diag.setLogger({ error: note, warn: note, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN);

class OnceReader extends MetricReader {
  constructor() {
    super({ aggregationTemporalitySelector: (type) => exporter.selectAggregationTemporality(type) });
  }
  async onForceFlush() {}
  async onShutdown() {}
}

const reader = new OnceReader();
const provider = new MeterProvider({
  resource: resourceFromAttributes({
    'service.name': name,
    'service.namespace': 'shop',
    'service.instance.id': 'i-1',
    'host.name': 'host-a',
    'process.command_args': ['node', 'app'],
  }),
  readers: [reader],
  views: [{ instrumentName: 'payload.size', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
});
const meter = provider.getMeter('checkout', '1.2.3');

const orders = meter.createCounter('orders.placed', { description: 'Orders.', unit: '{order}' });
orders.add(3, { 'payment.method': 'card' });
orders.add(4.5, { 'payment.method': 'cash' });
const open = meter.createUpDownCounter('carts.open');
open.add(7);
open.add(-2);
meter.createObservableGauge('cpu.utilization', { unit: '1' }).addCallback((r) => r.observe(0.25, { cpu: '0' }));
const latency = meter.createHistogram('http.server.duration', {
  unit: 's',
  description: 'Time to answer.',
  advice: { explicitBucketBoundaries: [0.1, 0.5, 1] },
});
for (const v of [0.05, 0.2, 0.3, 0.7, 9]) latency.record(v, { 'http.route': '/pay' });
const size = meter.createHistogram('payload.size', { unit: 'By' });
for (const v of [1, 2, 4, 1000, 100000, 0]) size.record(v);

const { resourceMetrics } = await reader.collect();
// The protocol's marker of a point without a value is not made by this SDK, nor are summaries: tests/cluster/otlp covers those.
const result = await new Promise((resolve) => exporter.export(resourceMetrics, resolve));
console.log(JSON.stringify({ code: result.code, error: result.error ? `${result.error.code ?? ''} ${result.error.message} ${result.error.data ?? ''}` : '', warnings }));
await exporter.shutdown();
