import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import { FilterFormatContext } from '../../../pipeline/filter-format-context.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import type { HeaderEdits } from '../../../routing/header-edit.ts';
import { editQuery, type QueryEdit } from './query-edit.ts';

/** What one level (filter, table, virtual host, route) changes. */
export interface MessageMutations {
  readonly request: HeaderEdits;
  readonly query: readonly QueryEdit[];
  readonly requestTrailers: HeaderEdits;
  readonly response: HeaderEdits;
  readonly responseTrailers: HeaderEdits;
}

/** Changes headers, query and trailers as configured. Source: Envoy, HeaderMutation filter. */
export class HeaderMutationFilter extends HttpFilter {
  readonly #own: MessageMutations;
  /** `most_specific_header_mutations_wins`: the route's mutations run last. */
  readonly #specificLast: boolean;
  /** In the order in which they run, the filter's own first. */
  #levels: readonly MessageMutations[] | null = null;

  constructor(own: MessageMutations, specificLast: boolean) {
    super();
    this.#own = own;
    this.#specificLast = specificLast;
  }

  /** Looked up once: another filter may change the route later. */
  #all(): readonly MessageMutations[] {
    if (this.#levels === null) {
      const ofRoute = this.stream.routeConfigs() as readonly MessageMutations[];
      const ordered = this.#specificLast || ofRoute.length < 2 ? ofRoute : [...ofRoute].reverse();
      this.#levels = ordered.length === 0 ? [this.#own] : [this.#own, ...ordered];
    }
    return this.#levels;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    const context = new FilterFormatContext(this.stream);
    for (const level of this.#all()) {
      level.request.apply(headers, context);
      if (level.query.length > 0 && headers.path !== null) {
        headers.path = editQuery(headers.path, level.query, context);
      }
    }
    return Flow.Continue;
  }

  override onRequestTrailers(trailers: HeaderMap): Flow {
    const context = new FilterFormatContext(this.stream);
    for (const level of this.#all()) level.requestTrailers.apply(trailers, context);
    return Flow.Continue;
  }

  override onResponseHeaders(headers: ResponseHeaders, _end: boolean): Flow {
    const context = new FilterFormatContext(this.stream);
    for (const level of this.#all()) level.response.apply(headers, context);
    return Flow.Continue;
  }

  override onResponseTrailers(trailers: HeaderMap): Flow {
    const context = new FilterFormatContext(this.stream);
    for (const level of this.#all()) level.responseTrailers.apply(trailers, context);
    return Flow.Continue;
  }
}
