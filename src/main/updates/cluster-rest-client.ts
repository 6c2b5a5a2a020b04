import type { Dispatcher } from '../../net/dispatcher.ts';
import type { ClusterManager } from '../../upstream/cluster-manager.ts';
import { HttpCall } from '../../upstream/http-call.ts';
import type { RestClient, RestHandler } from '../../xds/rest-source.ts';

/** A larger answer is refused: 10,000 clusters are a few megabytes of JSON. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

export interface RestTarget {
  readonly cluster: string;
  /** Of one request, ms. */
  readonly timeoutMs: number;
  readonly localAddress: string;
}

/** Requests to a control plane over one of main's clusters. Source: Envoy, Http::RestApiFetcher. */
export class ClusterRestClient implements RestClient {
  readonly #dispatcher: Dispatcher;
  readonly #clusters: ClusterManager;
  readonly #target: RestTarget;

  constructor(dispatcher: Dispatcher, clusters: ClusterManager, target: RestTarget) {
    this.#dispatcher = dispatcher;
    this.#clusters = clusters;
    this.#target = target;
  }

  post(path: string, json: string, handler: RestHandler): { cancel(): void } {
    const { cluster, timeoutMs, localAddress } = this.#target;
    return new HttpCall(
      this.#dispatcher,
      this.#clusters.get(cluster),
      {
        method: 'POST',
        path,
        authority: cluster,
        headers: [['content-type', 'application/json']],
        body: Buffer.from(json, 'utf8'),
        timeoutMs,
        maxAnswerBytes: MAX_ANSWER_BYTES,
        localAddress,
      },
      {
        onAnswer: (status, _headers, body) => handler.onAnswer(status, Buffer.from(body).toString('utf8')),
        onFailure: (reason) => handler.onFailure(reason),
      },
    );
  }
}
