import { expect, test } from 'bun:test';
import { openApiRegistry } from '../api/api-registry.ts';
import { LoggerRegistry, type LogLevel } from '../base/log.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { loadBootstrap } from './load-bootstrap.ts';
import { Server } from './server.ts';
import { DEFAULT_FLAGS } from './server-flags.ts';
import { loadSockets } from './socket-runtime.ts';
import { loadTls } from './tls-runtime.ts';

async function createServer(): Promise<{ server: Server; lines: string[] }> {
  const api = openApiRegistry();
  const extensions = new ExtensionRegistry(EXTENSIONS);
  const loaded = loadBootstrap([{ name: 'config', format: 'yaml', content: '{}' }], api, extensions, 'reject');
  if (!loaded.ok) throw new Error('refused');
  const lines: string[] = [];
  const write = (level: LogLevel, _logger: string, message: string): void => void lines.push(`${level} ${message}`);
  const logOutput = { write, reopen: () => {} };
  const parts = {
    api,
    extensions,
    loggers: new LoggerRegistry(logOutput, 'warning'),
    logOutput,
    componentLevels: [],
    createSockets: await loadSockets(),
    createTls: await loadTls(),
    loadAgain: null,
  };
  return { server: new Server({ ...DEFAULT_FLAGS, concurrency: 2 }, parts, loaded.value), lines };
}

test('a worker that has ended takes the server down: it stops in order, and says that it failed', async () => {
  const { server, lines } = await createServer();
  await server.start();
  // As if the thread had ended by itself.
  server.workers[1]!.terminate();
  server.onWorkerGone(1);
  await server.finished;
  expect(server.failed).toBe(true);
  await expect(server.collectStats().catch((error: Error) => error.message)).resolves.toContain('worker 1');
  await server.stop();
  expect(lines).toEqual(['critical worker 1 has ended unexpectedly: the server shuts down']);
});

test('a worker that ends in the course of a stop is no failure', async () => {
  const { server, lines } = await createServer();
  await server.start();
  const stopped = server.stop();
  server.onWorkerGone(0);
  await stopped;
  expect(server.failed).toBe(false);
  expect(lines).toEqual([]);
});
