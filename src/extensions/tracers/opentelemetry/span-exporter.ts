import type { Logger } from '../../../base/log.ts';
import { VERSION_TEXT } from '../../../base/version.ts';
import { type HttpServiceSpec, serviceHeaders } from '../../../config/builders/http-service.ts';
import type { GrpcCall, GrpcCallHandler, GrpcClient } from '../../../grpc/grpc-client.ts';
import type { ResponseHeaders } from '../../../http/header-map.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { HttpCall, type HttpCallHandler } from '../../../upstream/http-call.ts';
import type { OtelSpan } from './otel-span.ts';
import type { ResourceAttributes } from './resource.ts';
import { encodeSpans } from './span-encoding.ts';

const METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
/** `user-agent` of all exports. */
export const EXPORTER_AGENT = `OTel-OTLP-Exporter-Envoy/${VERSION_TEXT}`;
/** Nobody reads what a collector says. */
const MAX_ANSWER_BYTES = 1_048_576;

/** Sends spans away; what becomes of them is logged, and nothing is sent again, as in Envoy. */
export abstract class SpanExporter {
  readonly #resource: ResourceAttributes;
  readonly #withScope: boolean;

  constructor(resource: ResourceAttributes, withScope: boolean) {
    this.#resource = resource;
    this.#withScope = withScope;
  }

  export(spans: readonly OtelSpan[]): void {
    this.send(encodeSpans(spans, this.#resource, this.#withScope));
  }

  protected abstract send(body: Uint8Array): void;
}

/** OTLP over HTTP. */
export class HttpSpanExporter extends SpanExporter implements HttpCallHandler {
  readonly #service: HttpServiceSpec;
  readonly #environment: WorkerEnvironment;
  readonly #logger: Logger;

  constructor(
    service: HttpServiceSpec,
    environment: WorkerEnvironment,
    resource: ResourceAttributes,
    withScope: boolean,
  ) {
    super(resource, withScope);
    this.#service = service;
    this.#environment = environment;
    this.#logger = environment.loggers.get('tracing');
  }

  protected send(body: Uint8Array): void {
    const { dispatcher, clusters, local } = this.#environment;
    const { cluster: name, host, path, headers, timeoutMs } = this.#service;
    const cluster = clusters.get(name);
    if (cluster === null) {
      this.#logger.error(`OTLP HTTP exporter failed: [cluster = ${name}] is not configured`);
      return;
    }
    const defaults = [
      ['content-type', 'application/x-protobuf'],
      ['user-agent', EXPORTER_AGENT],
    ] as const;
    new HttpCall(
      dispatcher,
      cluster,
      {
        method: 'POST',
        path,
        authority: host,
        headers: serviceHeaders(headers, defaults, dispatcher.wallMs, dispatcher.nowMs),
        body,
        timeoutMs,
        maxAnswerBytes: MAX_ANSWER_BYTES,
        localAddress: local.address,
      },
      this,
    );
  }

  onAnswer(status: number, _headers: ResponseHeaders, _body: Uint8Array): void {
    if (status === 200) return;
    this.#logger.error(
      `OTLP HTTP exporter received a non-success status code: ${status} while exporting the OTLP message`,
    );
  }

  onFailure(reason: string): void {
    this.#logger.debug(`the OTLP export request failed: ${reason}`);
  }
}

/** OTLP over gRPC: one call for each export. */
export class GrpcSpanExporter extends SpanExporter implements GrpcCallHandler {
  readonly #client: GrpcClient;
  readonly #logger: Logger;

  constructor(client: GrpcClient, logger: Logger, resource: ResourceAttributes, withScope: boolean) {
    super(resource, withScope);
    this.#client = client;
    this.#logger = logger;
  }

  protected send(body: Uint8Array): void {
    const call = this.#client.open(METHOD, this, { maxMessageBytes: MAX_ANSWER_BYTES });
    call.send(body);
    call.endSend();
  }

  onInitialMetadata(): void {}

  onMessage(): void {}

  onReady(): void {}

  onStatus(_call: GrpcCall, status: number, message: string): void {
    if (status === 0) return;
    this.#logger.debug(`OTLP gRPC export failed with status ${status}: ${message}`);
  }
}
