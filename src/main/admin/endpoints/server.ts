import type { Server } from '../../server.ts';
import { HOT_RESTART_VERSION } from '../../version.ts';
import { type AdminEndpoint, command, flag, json, query, text } from '../admin-request.ts';

const OK = 'OK\n';

/** The endpoints about the process itself. */
export function serverEndpoints(server: Server): AdminEndpoint[] {
  return [
    query('/certs', 'print certs on machine', [], async () => (await import('./certs.ts')).certs(server)),
    query('/hot_restart_version', 'print the hot restart compatibility version', [], () => text(HOT_RESTART_VERSION)),
    query('/memory', 'print current allocation/heap usage', [], () => json(memoryText())),
    command('/healthcheck/fail', 'cause the server to fail health checks', [], () => {
      server.setHealthFailed(true);
      return text(OK);
    }),
    command('/healthcheck/ok', 'cause the server to pass health checks', [], () => {
      server.setHealthFailed(false);
      return text(OK);
    }),
    command('/quitquitquit', 'exit the server', [], () => {
      server.shutDown();
      return text(OK);
    }),
    command('/reopen_logs', 'reopen access logs', [], () => {
      server.reopenLogs();
      return text(OK);
    }),
    command(
      '/drain_listeners',
      'drain listeners',
      [
        flag(
          'graceful',
          'When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is configurable via server options or CLI',
        ),
        flag(
          'skip_exit',
          'When draining listeners, drain the connections but never stop the listeners. The graceful parameter has no effect when this is set, since the drain period only delays stopping the listeners',
        ),
        flag(
          'inboundonly',
          'Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound or outbound.',
        ),
      ],
      (request) => {
        const { query: asked } = request;
        server.drainListeners(asked.has('graceful'), asked.has('skip_exit'), asked.has('inboundonly'));
        return text(OK);
      },
    ),
  ];
}

function memoryText(): string {
  const memory = process.memoryUsage();
  const free = Math.max(0, memory.heapTotal - memory.heapUsed);
  return `${JSON.stringify(
    {
      allocated: String(memory.heapUsed + memory.external),
      heap_size: String(memory.heapTotal),
      pageheap_unmapped: '0',
      pageheap_free: String(free),
      total_thread_cache: '0',
      total_physical_bytes: String(memory.rss),
    },
    null,
    1,
  )}\n`;
}
