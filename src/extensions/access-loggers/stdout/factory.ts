import type { StdoutAccessLog } from '../../../api/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.d.ts';
import { buildLogFormat, FORMAT_SUPPORT } from '../../../config/builders/format.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { FormattedLogger } from '../../../pipeline/formatted-logger.ts';

/** Source: envoy.extensions.access_loggers.stream.v3.StdoutAccessLog. */
export const stdoutAccessLogger: ExtensionFactory<'access-logger', StdoutAccessLog> = {
  kind: 'access-logger',
  name: 'envoy.access_loggers.stdout',
  aliases: ['envoy.stdout_access_log'],
  configType: 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog',
  support: [
    { message: 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog', fields: 'log_format' },
    ...FORMAT_SUPPORT,
  ],
  build(config, context) {
    const chosen = config.accessLogFormat;
    const format = buildLogFormat(context, chosen.case === 'logFormat' ? chosen.value : undefined);
    return format === null
      ? null
      : (environment) => new FormattedLogger(format, environment.logFiles.open('/dev/stdout'));
  },
};
