import { xxHash64 } from '../../../base/xxhash64.ts';
import type { Server } from '../../server.ts';
import { SERVER_STATE_NAMES, ServerState } from '../../server-stats.ts';
import type { InitTargets } from '../../updates/init-targets.ts';
import { type AdminEndpoint, command, flag, json, option, query, text } from '../admin-request.ts';

/** Whether the server serves, and what it waits for. */
export function readinessEndpoints(server: Server): AdminEndpoint[] {
  return [
    query(
      '/ready',
      'print server state, return 200 if LIVE, otherwise return 503',
      // `?verbose`, which is not Envoy's: what is waited for, since when, and what was refused last.
      [],
      (request) => {
        const { state } = server;
        const more = request.query.has('verbose') ? waitingTree(server) : '';
        return text(`${SERVER_STATE_NAMES[state]}\n${more}`, state === ServerState.Live ? 200 : 503);
      },
    ),
    query(
      '/init_dump',
      'dump current Envoy init manager information (experimental)',
      [
        option(
          'mask',
          'The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For example, get the unready targets of all listeners with /init_dump?mask=listener`',
        ),
      ],
      () => json(`${JSON.stringify(initDump(server), null, 1)}\n`),
    ),
    {
      ...command(
        '/reload',
        'read the configuration file again and apply what has changed',
        [flag('plan', 'Only print what would be done')],
        async (request) => {
          const outcome = await server.reload(request.query.has('plan'));
          return text(outcome.text, outcome.ok ? 200 : 400);
        },
      ),
      unlisted: true,
    },
  ];
}

/** envoy.admin.v3.UnreadyTargetsDumps: the listeners that wait, and for what. */
function initDump(server: Server): object {
  const { listeners } = server.dynamic;
  const waiting = [...listeners.active.values(), ...listeners.warming.values()].filter(
    ({ targets }) => !targets.isReady,
  );
  if (waiting.length === 0) return {};
  return {
    unready_targets_dumps: waiting.map(({ name, bytes, targets }) => ({
      name: `init manager Listener-local-init-manager ${name} ${xxHash64(Buffer.from(bytes).toString('latin1'))}`,
      target_names: targets.unready.map((target) => envoyName(target.name)),
    })),
  };
}

function envoyName(target: string): string {
  const extension = /^ECDS (.*)$/s.exec(target);
  if (extension !== null) return `shared target FilterConfigSubscription init ${extension[1]}`;
  if (target.startsWith('SRDS ')) return "target ConfigSubscriptionCommonBase init target 'SRDS'";
  const routes = /^RDS (.*)$/s.exec(target);
  return routes === null ? `target ${target}` : `shared target RdsRouteConfigSubscription RDS init ${routes[1]}`;
}

/** A tree of what waits for what, since when, with the last refusal of each. */
function waitingTree(server: Server): string {
  const { clusterInit, serverInit, listeners, clusters } = server.dynamic;
  const now = Date.now();
  let out = '';
  const branch = (title: string, targets: InitTargets): void => {
    if (targets.isReady) return;
    out += `${title}\n`;
    for (const target of targets.unready) {
      out += `  ${target.name}: for ${((now - target.sinceMs) / 1000).toFixed(1)} s\n`;
      if (target.lastRefusal !== '') out += indented(`last refusal: ${target.lastRefusal}`);
    }
  };
  branch('the start waits for clusters:', clusterInit);
  branch('the start waits for:', serverInit);
  for (const { name, targets } of [...listeners.active.values(), ...listeners.warming.values()]) {
    branch(`listener ${name} waits for:`, targets);
  }
  for (const { targets, version } of clusters.warming.values()) {
    branch(`cluster ${version.spec.name} waits for:`, targets);
  }
  for (const error of listeners.errors.values()) {
    out += `listener ${error.name} was refused at ${new Date(error.attemptedMs).toISOString()}:\n${indented(error.details)}`;
  }
  for (const error of clusters.errors.values()) {
    out += `cluster ${error.name} was refused at ${new Date(error.attemptedMs).toISOString()}:\n${indented(error.details)}`;
  }
  for (const provider of server.dynamic.routes.refusals()) {
    out += `routes ${provider.name} were refused:\n${indented(provider.details)}`;
  }
  for (const provider of server.dynamic.scopes.refusals()) {
    out += `scopes ${provider.name} were refused:\n${indented(provider.details)}`;
  }
  for (const provider of server.dynamic.extensions.refusals()) {
    out += `extension ${provider.name} was refused:\n${indented(provider.details)}`;
  }
  const { lastReload } = server;
  if (lastReload !== null && !lastReload.ok) {
    out += `the configuration file was refused at ${new Date(lastReload.atMs).toISOString()}:\n${indented(lastReload.text)}`;
  }
  return out;
}

function indented(text: string): string {
  return `${text.trimEnd().replace(/^/gm, '    ')}\n`;
}
