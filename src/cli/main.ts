import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { openApiRegistry } from '../api/api-registry.ts';
import { LoggerRegistry, type LogLevel } from '../base/log.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import type { ConfigInput } from '../config/load/load-config.ts';
import { readConfigFile } from '../config/load/load-config.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { loadBootstrap } from '../main/load-bootstrap.ts';
import { Server } from '../main/server.ts';

const { values } = parseArgs({
  options: {
    'config-path': { type: 'string', short: 'c' },
    'config-yaml': { type: 'string' },
    mode: { type: 'string', default: 'serve' },
    'log-level': { type: 'string', short: 'l', default: 'info' },
    concurrency: { type: 'string' },
    'base-id': { type: 'string' },
    'use-dynamic-base-id': { type: 'boolean' },
  },
});

const level = values['log-level'] as LogLevel;
const logSink = {
  write: (severity: LogLevel, logger: string, message: string) =>
    process.stderr.write(`[${new Date().toISOString()}][${process.pid}][${severity}][${logger}] ${message}\n`),
};
const loggers = new LoggerRegistry(logSink, level);
const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const inputs: ConfigInput[] = [];
if (values['config-path'] !== undefined) {
  const file = readConfigFile(values['config-path']);
  if (file.ok) inputs.push(file.value);
  else console.error(file.error.map((error) => error.reason).join('\n'));
}
if (values['config-yaml'] !== undefined) {
  inputs.push({ name: '--config-yaml', format: 'yaml', content: values['config-yaml'] });
}
const result = loadBootstrap(inputs, api, extensions, 'reject');
if (!result.ok) {
  for (const error of result.error) {
    const at = error.position === undefined ? '' : `:${error.position.line}:${error.position.column}`;
    console.error(
      `${error.position?.file ?? ''}${at}: ${error.severity}: ${error.reason} (${error.path}) ${error.hint ?? ''}`,
    );
  }
  process.exit(1);
}
if (values.mode === 'validate') {
  process.stdout.write(`configuration '${values['config-path'] ?? ''}' OK\n`);
  process.exit(0);
}
const server = new Server(
  {
    concurrency: Math.max(1, Number(values.concurrency ?? availableParallelism())),
    local: { nodeId: '', clusterName: '', zone: '', address: '127.0.0.1' },
    logLevel: level,
    componentLevels: [],
    fileFlushIntervalMs: 10_000,
    fileFlushMinBytes: 64 * 1024,
  },
  { api, extensions, loggers, logSink },
  result.value.plan,
);
await server.start();
loggers.get('main').info('starting main dispatch loop');
