import type { Message } from '@bufbuild/protobuf';
import type { Router } from '../../../api/gen/envoy/extensions/filters/http/router/v3/router_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildAccessLogs } from '../../../config/builders/access-log.ts';
import { durationMsOr } from '../../../config/builders/durations.ts';
import type { ExtensionFactory, FieldSupport } from '../../../config/extension-registry.ts';
import type { ConnectionContext, WorkerEnvironment } from '../../../pipeline/environment.ts';
import type { HttpFilter, HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { ResponseCharging } from '../../../pipeline/router/response-charging.ts';
import { ROUTER_STATS, type RouterConfig } from '../../../pipeline/router/router-config.ts';
import { RouterFilter } from '../../../pipeline/router/router-filter.ts';

const NAME = 'envoy.extensions.filters.http.router.v3.Router';

const ROUTER_SUPPORT: readonly FieldSupport[] = [
  {
    message: NAME,
    fields:
      'dynamic_stats upstream_log upstream_log_options suppress_envoy_headers strict_check_headers ' +
      'respect_expected_rq_timeout suppress_grpc_request_failure_code_stats start_child_span',
    inert: 'reject_connect_request_early_data',
  },
  { message: `${NAME}.UpstreamAccessLogOptions`, fields: '*' },
];

type ConfigMaker = (environment: WorkerEnvironment) => RouterConfig;

class RouterBuilder implements HttpFilterBuilder {
  readonly isTerminal = true;
  readonly #make: ConfigMaker;
  #config: RouterConfig | null = null;

  constructor(make: ConfigMaker) {
    this.#make = make;
  }

  createFilter(context: ConnectionContext): HttpFilter {
    this.#config ??= this.#make(context.environment);
    return new RouterFilter(this.#config, context.environment);
  }
}

function build(config: Router, context: BuildContext): HttpFilterBuilder | null {
  const before = context.errorCount;
  const loggers = buildAccessLogs(context, 'upstream_log', config.upstreamLog);
  if (context.errorCount > before) return null;
  const stats = ROUTER_STATS.create(context.stats);
  const options = config.upstreamLogOptions;
  return new RouterBuilder((environment) => ({
    stats,
    startsChildSpan: config.startChildSpan,
    suppressEnvoyHeaders: config.suppressEnvoyHeaders,
    strictCheckHeaders: config.strictCheckHeaders.map((name) => name.toLowerCase()),
    respectExpectedTimeout: config.respectExpectedRqTimeout,
    dynamicStats: config.dynamicStats ?? true,
    suppressGrpcFailureCodeStats: config.suppressGrpcRequestFailureCodeStats,
    upstreamLoggers: loggers.map((make) => make(environment)),
    logOnUpstreamStream: options?.flushUpstreamLogOnUpstreamStream ?? false,
    upstreamLogFlushIntervalMs: durationMsOr(options?.upstreamLogFlushInterval, 0),
    charging: new ResponseCharging(environment),
  }));
}

/** envoy.filters.http.router: a thin factory over `pipeline/router`. */
export const routerFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.router',
  aliases: ['envoy.router'],
  configType: NAME,
  support: ROUTER_SUPPORT,
  build: (config: Message, context) => build(config as Router, context),
};
