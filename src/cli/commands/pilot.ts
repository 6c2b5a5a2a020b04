import { isAbsolute, relative } from 'node:path';
import { parseArgs } from 'node:util';

const USAGE = `usage: nuncio pilot [--listen HOST:PORT] [--resources DIRECTORY] [--gateway-api DIRECTORY] [--status FILE]

A control plane: serves what is in the directories to Envoy, Nuncio and gRPC clients, and follows their changes.

  --listen       where discovery (gRPC) is served; default 127.0.0.1:18000
  --resources    Envoy's resources: files with a list \`resources:\`, each with its "@type". Below groups/NAME/ stand the resources
                 of the nodes that groups/NAME/group.yaml describes (id, cluster, region, zone, sub_zone, metadata)
  --gateway-api  manifests of the Gateway API; the proxies of a gateway call themselves NAMESPACE/NAME in node.cluster
  --status       the statuses of the manifests are written to this file
`;

/** `nuncio pilot`. Runs until it is told to stop. @returns the exit code */
export async function pilotCommand(args: readonly string[]): Promise<number> {
  let values: { listen: string; resources: string; 'gateway-api': string; status: string };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        listen: { type: 'string', default: '127.0.0.1:18000' },
        resources: { type: 'string', default: '' },
        'gateway-api': { type: 'string', default: '' },
        status: { type: 'string', default: '' },
      },
    }));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    return 1;
  }
  const place = /^(.+):(\d+)$/.exec(values.listen);
  if (place === null || (values.resources === '' && values['gateway-api'] === '')) {
    process.stderr.write(USAGE);
    return 1;
  }
  const inside = relative(values['gateway-api'], values.status);
  if (values.status !== '' && values['gateway-api'] !== '' && !inside.startsWith('..') && !isAbsolute(inside)) {
    process.stderr.write('--status must not lie in the directory of manifests: it would be read as one of them\n');
    return 1;
  }
  const { startPilot } = await import('../../control-plane/pilot-process.ts');
  const { loadSockets } = await import('../../main/socket-runtime.ts');
  const pilot = startPilot(
    {
      host: place[1]!.replace(/^\[(.*)\]$/, '$1'),
      port: Number(place[2]),
      resources: values.resources,
      manifests: values['gateway-api'],
      statusFile: values.status,
      logLevel: 'info',
    },
    await loadSockets(),
  );
  process.once('SIGTERM', () => pilot.stop());
  process.once('SIGINT', () => pilot.stop());
  await pilot.stopped;
  return 0;
}
