/** `request_mirror_policies`: what the copy says, which are made, what is counted. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpListener, to, trusting } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const main = httpUpstream((seen) => reply(200, `[${seen.body}]`));
const shadow = httpUpstream((seen) => reply(seen.path.includes('bad') ? 503 : 404, 'nobody reads this'));
const mirror = (policy: Fields = {}): Fields => ({ request_mirror_policies: [{ cluster: 'u2', ...policy }] });

const stats = [
  /^cluster\.(u2|dead|empty)\.(?!.*(_bytes_|_ms|_time|upstream_cx_|upstream_rq_per_cx))/,
  'http.async-client.rq_total',
];

suite(
  'request mirrors',
  {
    config: {
      static_resources: {
        listeners: [
          httpListener({
            hcm: trusting,
            virtualHosts: [
              {
                name: 'v',
                domains: ['*'],
                routes: [
                  to('u1', '/suffix', mirror({ disable_shadow_host_suffix_append: true })),
                  to('u1', '/literal', mirror({ host_rewrite_literal: 'other:99' })),
                  to('u1', '/never', mirror({ runtime_fraction: { default_value: { numerator: 0 } } })),
                  to('u1', '/always', mirror({ runtime_fraction: { default_value: { numerator: 100 } } })),
                  to('u1', '/two', {
                    request_mirror_policies: [{ cluster: 'u2' }, { cluster: 'u2', host_rewrite_literal: 'second' }],
                  }),
                  to('u1', '/header', { request_mirror_policies: [{ cluster_header: 'x-shadow' }] }),
                  to('u1', '/dead', mirror({ cluster: 'dead' })),
                  to('u1', '/empty', mirror({ cluster: 'empty' })),
                  to('u1', '/timeout', { timeout: '3s', ...mirror() }),
                  to(
                    'u1',
                    '/mutated',
                    mirror({
                      request_headers_mutations: [
                        { append: { header: { key: 'x-m', value: '%REQ(:path)%' } } },
                        { remove: 'x-gone' },
                      ],
                    }),
                  ),
                  to('u1', '/', { prefix_rewrite: '/new/', host_rewrite_literal: 'real', ...mirror() }),
                ],
              },
            ],
          }),
        ],
        clusters: [cluster('u1'), cluster('u2'), cluster('dead', ['{{refused}}']), cluster('empty', [])],
      },
    },
    upstreams: { u1: main, u2: shadow },
    stats,
  },
  [
    mirrored('a request without body', http('GET /a?b')),
    mirrored('its x-forwarded-for grows', http('GET /a', ['x-forwarded-for: 1.2.3.4'])),
    mirrored('a body with its length', [http('POST /a', ['content-length: 5'], 'he'), 'llo']),
    mirrored('a body in chunks', http('POST /a', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n')),
    mirrored('a host with a port', 'GET /always HTTP/1.1\r\nhost: h.com:81\r\n\r\n'),
    mirrored('without suffix', http('GET /suffix')),
    mirrored('a host of its own', http('GET /literal')),
    mirrored('headers of its own', http('GET /mutated', ['x-gone: 1', 'x-m: 0'])),
    mirrored('a timeout of the route', http('GET /timeout')),
    mirrored('answered by an error', http('GET /timeout/bad')),
    mirrored('two of them', http('GET /two'), 2),
    mirrored('a cluster by header', http('GET /header', ['x-shadow: u2'])),
    request('a header that names no cluster', http('GET /header', ['x-shadow: missing'])),
    request('no such header', http('GET /header')),
    request('a fraction of none', http('GET /never')),
    mirrored('a fraction of all', http('GET /always')),
    request('a cluster without hosts', http('GET /empty')),
    steps('a cluster that refuses', async (exchange) => {
      const client = await exchange.connect('a');
      client.send(http('GET /dead'));
      await exchange.expectResponse(client);
      await exchange.expectStat('cluster.dead.upstream_rq_completed', 1);
    }),
    steps('a client that leaves within its body takes the copy along', async (exchange) => {
      const client = await exchange.connect('a');
      client.send(http('POST /always', ['content-length: 5'], 'he'));
      await exchange.expectStat('cluster.u2.upstream_rq_active', 1);
      client.end();
      await exchange.expectStat('cluster.u2.upstream_rq_active', 0);
    }),
  ],
);

function mirrored(name: string, bytes: string | readonly string[], copies = 1) {
  return steps(name, async (exchange) => {
    const before = (await exchange.stat('cluster.u2.upstream_rq_completed')) ?? 0;
    const client = await exchange.connect('a');
    for (const part of typeof bytes === 'string' ? [bytes] : bytes) client.send(part);
    await exchange.expectResponse(client);
    await exchange.expectStat('cluster.u2.upstream_rq_completed', before + copies);
  });
}
