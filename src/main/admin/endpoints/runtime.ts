import type { Server } from '../../server.ts';
import { type AdminEndpoint, command, json, query, text } from '../admin-request.ts';

const USAGE = `usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN
       or send the parameters as form values
use an empty value to remove a previously added override
`;

/** `/runtime` and `/runtime_modify`. */
export function runtimeEndpoints(server: Server): AdminEndpoint[] {
  return [
    query('/runtime', 'print runtime values', [], () => {
      const entries: Record<string, unknown> = {};
      for (const [key, { layerValues, finalValue }] of server.runtime.entries()) {
        entries[key] = { layer_values: layerValues, final_value: finalValue };
      }
      return json(`${JSON.stringify({ layers: server.runtime.layerNames, entries }, null, 1)}\n`);
    }),
    command(
      '/runtime_modify',
      'Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty string as the value. Note that deletion only applies to overrides added via this endpoint; values loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...',
      [],
      (request) => {
        if (request.query.size === 0) return text(USAGE, 400);
        if (!server.runtime.hasAdminLayer) return text('No admin layer specified', 503);
        server.runtime.modify(new Map(request.query));
        return text('OK\n');
      },
    ),
  ];
}
