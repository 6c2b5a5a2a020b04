import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { FileAccessLog } from '../../../api/gen/envoy/extensions/access_loggers/file/v3/file_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import {
  buildJsonFormat,
  buildLogFormat,
  buildTextFormat,
  DEFAULT_LOG_FORMAT,
  FORMAT_SUPPORT,
} from '../../../config/builders/format.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { FormattedLogger } from '../../../pipeline/formatted-logger.ts';
import type { ValueFormatter } from '../../../routing/stream-view.ts';

function build(
  config: FileAccessLog,
  context: BuildContext,
): ReturnType<ExtensionFactory<'access-logger', FileAccessLog>['build']> {
  const format = buildFormat(config, context);
  const { path } = config;
  const trouble = openTrouble(path);
  if (trouble !== null) context.refuse('path', `unable to open file '${path}': ${trouble}`);
  if (format === null || trouble !== null) return null;
  return (environment) => new FormattedLogger(format, environment.logFiles.open(path));
}

/** Why the file could not be opened for appending, found out without making it; null: nothing speaks against it. */
function openTrouble(path: string): string | null {
  if (path === '') return 'the path is empty';
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) return 'Is a directory';
    accessSync(found === undefined ? dirname(path) : path, constants.W_OK);
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? 'No such file or directory' : code === 'EACCES' ? 'Permission denied' : message;
  }
}

function buildFormat(config: FileAccessLog, context: BuildContext): ValueFormatter | null {
  const chosen = config.accessLogFormat;
  switch (chosen.case) {
    case 'format':
      return buildTextFormat(context, 'format', chosen.value === '' ? DEFAULT_LOG_FORMAT : chosen.value);
    case 'jsonFormat':
      return buildJsonFormat(context, 'json_format', chosen.value);
    case 'typedJsonFormat':
      return buildJsonFormat(context, 'typed_json_format', chosen.value);
    case 'logFormat':
      return buildLogFormat(context, chosen.value);
    default:
      return buildLogFormat(context, undefined);
  }
}

/** Source: envoy.extensions.access_loggers.file.v3.FileAccessLog. */
export const fileAccessLogger: ExtensionFactory<'access-logger', FileAccessLog> = {
  kind: 'access-logger',
  name: 'envoy.access_loggers.file',
  aliases: ['envoy.file_access_log'],
  configType: 'envoy.extensions.access_loggers.file.v3.FileAccessLog',
  support: [
    {
      message: 'envoy.extensions.access_loggers.file.v3.FileAccessLog',
      fields: 'path format json_format typed_json_format log_format',
    },
    ...FORMAT_SUPPORT,
  ],
  build,
};

/** The version 2 message of the same fields, as old files have it in `typed_config`. */
export const fileAccessLoggerV2: ExtensionFactory<'access-logger', FileAccessLog> = {
  kind: 'access-logger',
  name: 'envoy.file_access_log.v2',
  configType: 'envoy.config.accesslog.v2.FileAccessLog',
  support: [
    { message: 'envoy.config.accesslog.v2.FileAccessLog', fields: 'path format json_format typed_json_format' },
  ],
  build,
};
