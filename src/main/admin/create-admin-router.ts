import type { StringMatcher } from '../../routing/string-matcher.ts';
import type { Server } from '../server.ts';
import { choice, flag, option, query, text } from './admin-request.ts';
import { AdminRouter } from './admin-router.ts';
import { clustersEndpoint } from './endpoints/clusters.ts';
import { loggingEndpoint } from './endpoints/logging.ts';
import { profilerEndpoints } from './endpoints/profilers.ts';
import { readinessEndpoints } from './endpoints/readiness.ts';
import { runtimeEndpoints } from './endpoints/runtime.ts';
import { serverEndpoints } from './endpoints/server.ts';
import { statsEndpoints } from './endpoints/stats.ts';

/** Every endpoint of the admin server. What is large and rarely asked for is loaded when it is asked for. */
export function createAdminRouter(server: Server, allowPaths: readonly StringMatcher[] | null): AdminRouter {
  const router = new AdminRouter(allowPaths, server.parts.loggers.get('admin'));
  const endpoints = [
    ...serverEndpoints(server),
    ...readinessEndpoints(server),
    ...statsEndpoints(server),
    ...runtimeEndpoints(server),
    ...profilerEndpoints(),
    loggingEndpoint(server),
    clustersEndpoint(server),
    query('/', 'Admin home page', [], async () => (await import('./home-page.ts')).homePage(router.endpoints())),
    query('/help', 'print out list of admin commands', [], () => text(router.help())),
    query(
      '/config_dump',
      'dump current Envoy configs',
      [
        option('resource', 'The resource to dump'),
        option(
          'mask',
          'The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask',
        ),
        option(
          'name_regex',
          'Dump only the currently loaded configurations whose names match the specified regex. Can be used with both resource and mask query parameters.',
        ),
        flag(
          'include_eds',
          'Dump currently loaded configuration including EDS. See the response definition for more information',
        ),
      ],
      async (request) => (await import('./endpoints/config-dump.ts')).configDump(server, request),
    ),
    query(
      '/listeners',
      'print listener info',
      [choice('format', 'File format to use', ['text', 'json'])],
      async (request) => (await import('./endpoints/listeners.ts')).listeners(server, request),
    ),
    query('/server_info', 'print server version/status information', [], async () =>
      (await import('./endpoints/server-info.ts')).serverInfo(server),
    ),
  ];
  for (const endpoint of endpoints) router.add(endpoint);
  return router;
}
