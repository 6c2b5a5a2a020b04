import type { StderrAccessLog } from '../../../api/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.d.ts';
import { buildLogFormat, FORMAT_SUPPORT } from '../../../config/builders/format.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { FormattedLogger } from '../../../pipeline/formatted-logger.ts';

/** Source: envoy.extensions.access_loggers.stream.v3.StderrAccessLog. */
export const stderrAccessLogger: ExtensionFactory<'access-logger', StderrAccessLog> = {
  kind: 'access-logger',
  name: 'envoy.access_loggers.stderr',
  aliases: ['envoy.stderr_access_log'],
  configType: 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog',
  support: [
    { message: 'envoy.extensions.access_loggers.stream.v3.StderrAccessLog', fields: 'log_format' },
    ...FORMAT_SUPPORT,
  ],
  build(config, context) {
    const chosen = config.accessLogFormat;
    const format = buildLogFormat(context, chosen.case === 'logFormat' ? chosen.value : undefined);
    return format === null
      ? null
      : (environment) => new FormattedLogger(format, environment.logFiles.open('/dev/stderr'));
  },
};
