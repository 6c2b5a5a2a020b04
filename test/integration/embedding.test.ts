/** The library on Node: bundled as the build does it, imported by a plain script. */
import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dir, '..', '..');

const SCRIPT = `
import { ConfigRefused, createServer } from './index.js';
const config = ${JSON.stringify({
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  static_resources: {
    listeners: [
      {
        name: 'a',
        address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
        filter_chains: [
          {
            filters: [
              {
                name: 'hcm',
                typed_config: {
                  '@type':
                    'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  stat_prefix: 'ingress',
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'v',
                        domains: ['*'],
                        routes: [
                          { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hi' } } },
                        ],
                      },
                    ],
                  },
                  http_filters: [
                    {
                      name: 'router',
                      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                    },
                  ],
                },
              },
            ],
          },
        ],
      },
    ],
  },
})};
const server = await createServer({ config, logLevel: 'off' });
await server.start();
const body = await (await fetch('http://' + server.addresses.get('a')[0])).text();
const ready = await (await fetch('http://' + server.adminAddress + '/ready')).text();
const stats = await server.stats({ filter: 'ingress.downstream_rq_2xx' });
await server.stop();
const refused = await createServer({ config: 'admin: { adress: 1 }' }).catch((error) => error);
const workers = await createServer({ config, concurrency: 2 }).catch((error) => error.message);
console.log(JSON.stringify({ body, ready, stats, refused: refused instanceof ConfigRefused, workers }));
`;

test('the library serves on Node', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-node-'));
  try {
    const built = await Bun.build({
      entrypoints: [join(root, 'src/index.ts')],
      target: 'node',
      splitting: true,
      outdir: folder,
    });
    expect(built.success).toBe(true);
    await Bun.write(join(folder, 'script.mjs'), SCRIPT);
    const child = Bun.spawn(['node', join(folder, 'script.mjs')], { stdio: ['ignore', 'pipe', 'pipe'] });
    const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect([await child.exited, errors]).toEqual([0, '']);
    const told = JSON.parse(output) as Record<string, unknown>;
    expect(told).toMatchObject({ body: 'hi', ready: 'LIVE\n', refused: true });
    expect(told.stats).toContain('http.ingress.downstream_rq_2xx: 1');
    expect(told.workers).toContain('needs Bun');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
