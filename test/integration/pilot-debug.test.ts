/** What `nuncio pilot` tells of its clients: debug pages, metrics, and the client status discovery service. */
import { afterEach, expect, test } from 'bun:test';
import { connect as connectHttp2 } from 'node:http2';
import { fromBinary, fromJson, toBinary, toJson } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../src/api/api-registry.ts';
import { installEnvoy } from '../../tools/envoy.ts';
import { freePort } from '../support/free-port.ts';
import {
  ask,
  cluster,
  endpoints,
  endStages,
  listener,
  resources,
  route,
  stage,
  until,
} from '../support/pilot-stage.ts';

afterEach(endStages);
const api = openApiRegistry();
const STATUS = 'envoy.service.status.v3.';

interface TypeReport {
  readonly names: string[];
  readonly version_sent: string;
  readonly version_acked: string;
  readonly resources_held: number;
  readonly last_push_ms: number | null;
  readonly nack: { readonly detail: string; readonly times: number } | null;
}

interface Report {
  readonly pilot: { readonly streams: number; readonly faults: string[] };
  readonly groups: { readonly group: string; readonly streams: number; readonly types: object }[];
  readonly clients: {
    readonly node: { readonly id: string; readonly cluster: string };
    readonly group: string;
    readonly protocol: string;
    readonly types: Readonly<Record<string, TypeReport>>;
  }[];
}

interface XdsConfig {
  readonly typeUrl: string;
  readonly name: string;
  readonly configStatus: string;
  readonly clientStatus: string;
  readonly xdsConfig?: object;
  readonly errorState?: { readonly details: string };
}

interface ClientConfig {
  readonly node: { readonly id: string };
  readonly genericXdsConfigs: XdsConfig[];
}

/** Calls a method of CSDS with some requests. @returns its responses */
function csds(port: number, method: string, requests: object[]): Promise<{ config?: ClientConfig[] }[]> {
  const encode = (json: object): Buffer => {
    const desc = api.message(`${STATUS}ClientStatusRequest`)!;
    const bytes = toBinary(desc, fromJson(desc, json as never, { registry: api.registry }));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    return Buffer.concat([prefix, bytes]);
  };
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${STATUS}ClientStatusDiscoveryService/${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('end', () => {
      session.close();
      const bytes = Buffer.concat(chunks);
      const out: { config?: ClientConfig[] }[] = [];
      for (let at = 0; at + 5 <= bytes.length; ) {
        const size = bytes.readUInt32BE(at + 1);
        const desc = api.message(`${STATUS}ClientStatusResponse`)!;
        out.push(
          toJson(desc, fromBinary(desc, bytes.subarray(at + 5, at + 5 + size)), { registry: api.registry }) as object,
        );
        at += 5 + size;
      }
      resolve(out);
    });
    for (const request of requests) stream.write(encode(request));
    stream.end();
  });
}

test.each(['GRPC', 'DELTA_GRPC'])(
  'who is connected, has what, and refuses what (%s)',
  async (method) => {
    const envoy = await installEnvoy();
    const scene = stage();
    const [port, debug] = [freePort(), freePort()];
    const one = scene.upstream('one');
    scene.write('config/listener.yaml', resources(listener(port)));
    scene.write('config/web.yaml', resources(cluster('c'), endpoints('c', one), route('c')));
    const secret = { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret', name: 'hidden' };
    scene.write('config/secret.yaml', resources({ ...secret, generic_secret: { secret: { inline_string: 'TOP' } } }));
    const pilot = await scene.pilot('--resources', scene.path('config'), '--debug', `127.0.0.1:${debug}`);
    await scene.follow([envoy], pilot.port, method, 'web');
    await until('the first answer', async () => (await ask(port)) === 'one');
    const page = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${debug}${path}`)).text();
    const report = async (): Promise<Report> => JSON.parse(await page('/debug')) as Report;

    const first = await report();
    expect(first.pilot).toMatchObject({ streams: 1, faults: [] });
    expect(first.groups).toMatchObject([{ group: 'common', streams: 1, types: { Cluster: { resources: 1 } } }]);
    const [client] = first.clients;
    expect(client).toMatchObject({
      node: { id: 'test', cluster: 'web' },
      group: 'common',
      protocol: method === 'GRPC' ? 'state of the world' : 'delta',
    });
    const { Cluster, ClusterLoadAssignment, RouteConfiguration } = client!.types;
    expect(Cluster!.version_acked).toBe(Cluster!.version_sent);
    expect([Cluster!.resources_held, Cluster!.nack]).toEqual([1, null]);
    expect([ClusterLoadAssignment!.names, RouteConfiguration!.names]).toEqual([['c'], ['all']]);

    const [fetched] = await csds(pilot.port, 'FetchClientStatus', [{}]);
    const config = fetched!.config![0]!;
    expect(config.node.id).toBe('test');
    const found = (type: string, from: ClientConfig = config): XdsConfig =>
      from.genericXdsConfigs.find(({ typeUrl }) => typeUrl.endsWith(type))!;
    expect(found('.Cluster')).toMatchObject({ name: 'c', configStatus: 'SYNCED', clientStatus: 'ACKED' });
    expect(found('.RouteConfiguration').xdsConfig).toMatchObject({ name: 'all' });

    // A listener that no Envoy takes.
    scene.write(
      'config/listener.yaml',
      resources(listener(port), {
        ...listener(freePort()),
        name: 'broken',
        filter_chains: [
          { filters: [{ name: 'x', typed_config: { '@type': 'type.googleapis.com/envoy.config.core.v3.Node' } }] },
        ],
      }),
    );
    const refusal = async (): Promise<TypeReport['nack']> => (await report()).clients[0]!.types.Listener!.nack;
    await until('the refusal', async () => (await refusal()) !== null);
    expect(await refusal()).toMatchObject({ times: 1 });
    expect((await refusal())!.detail).toContain('broken');
    expect(JSON.parse(await page('/debug/clients?node=nobody'))).toEqual([]);
    expect(JSON.parse(await page('/debug/clients?node=test'))).toHaveLength(1);
    expect(await page('/debug')).not.toContain('TOP');

    // Nothing of other nodes, no contents, and a stream that answers each request.
    const responses = await csds(pilot.port, 'StreamClientStatus', [
      { node_matchers: [{ node_id: { exact: 'other' } }] },
      { node_matchers: [{ node_id: { prefix: 'te' } }], exclude_resource_contents: true },
    ]);
    expect(responses[0]).toEqual({});
    const brief = responses[1]!.config![0]!;
    expect(brief.genericXdsConfigs.filter(({ xdsConfig }) => xdsConfig !== undefined)).toEqual([]);
    const broken = brief.genericXdsConfigs.find(({ name }) => name === 'broken')!;
    expect(broken).toMatchObject({ configStatus: 'ERROR', clientStatus: 'NACKED' });
    expect(broken.errorState!.details).toContain('broken');

    scene.write('config/web.yaml', 'resources: [{ nothing: here }]');
    await until('the fault', async () => (await report()).pilot.faults.length > 0);
    expect((await report()).pilot.faults[0]).toContain('web.yaml');
    const metrics = await page('/metrics');
    expect(metrics).toContain('pilot_nacks_total{type="Listener"} 1');
    expect(metrics).toContain('pilot_clients 1');
    expect(metrics).toContain('pilot_loads_total{outcome="refused"} 1');
    expect(metrics).toMatch(/pilot_push_seconds_count \d/);
    expect(metrics).toContain('# TYPE pilot_responses_total counter');
    expect(await page('/ready')).toBe('LIVE\n');
    const lost = await fetch(`http://127.0.0.1:${debug}/nothing`);
    expect([lost.status, await lost.text()]).toEqual([404, expect.stringContaining('/debug\n') as unknown as string]);
    expect((await fetch(`http://127.0.0.1:${debug}/debug`, { method: 'POST' })).status).toBe(405);
  },
  60_000,
);
