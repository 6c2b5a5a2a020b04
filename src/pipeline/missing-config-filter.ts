import type { RequestHeaders } from '../http/header-map.ts';
import { Flow, HttpFilter } from './http-filter.ts';
import { ResponseFlag } from './response-flag.ts';

/** Stands in for a discovered filter without a configuration. Source: Envoy, MissingConfigFilter. */
export class MissingConfigFilter extends HttpFilter {
  override onRequestHeaders(_headers: RequestHeaders, _end: boolean): Flow {
    this.stream.info.setFlag(ResponseFlag.NoFilterConfigFound);
    this.stream.sendLocalReply({ status: 500, body: '', details: '', grpcStatus: null, modifyHeaders: null });
    return Flow.Pause;
  }
}
