/** HTTP/2: Envoy's METADATA frames, passed on where both sides allow them. */
import { dataFrame, frame, headersFrame, http2Upstream, METADATA_FRAME, metadataFrame } from '../support/http2-peer.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http2Options, httpListener, to } from './configs.ts';
import { steps, suite } from './harness.ts';

const listener = (name: string, upstream: string, fields: Fields): Fields =>
  httpListener({ name, routes: [to(upstream)], hcm: { stat_prefix: 'ingress', http2_protocol_options: fields } });

const upstream = http2Upstream({
  respond: ({ id, stream, path }, peer) => {
    if (path === '/before') peer.send(metadataFrame(id, ['too: early']));
    peer.send(headersFrame(id, [':status: 200'], false));
    peer.send(metadataFrame(id, ['from: upstream', 'second: x']), dataFrame(id, 'body', false));
    if (path === '/large')
      peer.send(
        metadataFrame(id, [`large: ${'y'.repeat(15_000)}`], false),
        metadataFrame(id, [`more: ${'z'.repeat(15_000)}`]),
      );
    peer.send(metadataFrame(id, ['last: one']), dataFrame(id, `saw ${stream.metadata.length}`, true));
  },
});

suite(
  'http/2 METADATA',
  {
    config: bootstrap(
      [
        listener('a', 'u2', { allow_metadata: true }),
        listener('down', 'plain', { allow_metadata: true }),
        listener('up', 'u2', {}),
        listener('h1', 'u1', { allow_metadata: true }),
        listener('small', 'u2', { allow_metadata: true, max_metadata_size: 8192 }),
      ],
      [
        cluster('u2', ['{{upstream:u2}}'], http2Options({ allow_metadata: true })),
        cluster('plain', ['{{upstream:u2}}'], http2Options({})),
        cluster('u1', ['{{upstream:u1}}']),
      ],
    ),
    upstreams: { u2: upstream, u1: httpUpstream(() => reply(200, 'over one')) },
    stats: [
      /^(http2|cluster\.\w+\.http2)\.metadata/,
      /metadata_not_supported/,
      /^http\.ingress\.downstream_rq_(2|4|5)xx/,
    ],
  },
  [
    ...['a', 'down', 'up', 'h1'].map((name) =>
      steps(`${name}: both ways`, async (exchange) => {
        const client = await exchange.http2(name);
        const id = client.request('GET /x', [], null, false);
        client.send(metadataFrame(id, ['one: 1', 'two: 2']), metadataFrame(id, ['three: 3']), dataFrame(id, '', true));
        await exchange.expectOver(client, id);
      }),
    ),
    steps('behind a body, in pieces', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('POST /x', [], null, false);
      const whole = metadataFrame(id, ['one: 1', 'two: 2']).subarray(9);
      client.send(dataFrame(id, 'abc', false), frame(METADATA_FRAME, 0, id, whole.subarray(0, 5)));
      client.send(frame(METADATA_FRAME, 4, id, whole.subarray(5)), dataFrame(id, 'def', true));
      await exchange.expectOver(client, id);
    }),
    steps('before the head of the answer', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('GET /before');
      await exchange.expectOver(client, id);
    }),
    steps('large ones', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('GET /large', [], null, false);
      client.send(
        metadataFrame(id, [`large: ${'x'.repeat(16_000)}`], false),
        metadataFrame(id, [`more: ${'w'.repeat(16_000)}`]),
      );
      client.send(dataFrame(id, '', true));
      await exchange.expectOver(client, id);
    }),
    steps(
      'larger than allowed',
      async (exchange) => {
        const client = await exchange.http2('small');
        const id = client.request('GET /x', [], null, false);
        await exchange.expectStat('cluster.u2.upstream_rq_active', 1);
        client.send(metadataFrame(id, [`large: ${'x'.repeat(9_000)}`]), dataFrame(id, '', true));
        await exchange.expectOver(client, id);
      },
      { clientFate: false },
    ),
    steps('empty ones', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('GET /x', [], null, false);
      client.send(
        frame(METADATA_FRAME, 4, id),
        frame(METADATA_FRAME, 0, id),
        frame(METADATA_FRAME, 4, id),
        dataFrame(id, '', true),
      );
      await exchange.expectOver(client, id);
    }),
    steps(
      'no header block',
      async (exchange) => {
        const client = await exchange.http2('a');
        const id = client.request('GET /x', [], null, false);
        await exchange.expectStat('cluster.u2.upstream_rq_active', 1);
        client.send(frame(METADATA_FRAME, 4, id, Buffer.from([0xff, 0xff, 0xff])), dataFrame(id, '', true));
        await exchange.expectOver(client, id);
      },
      { clientFate: false },
    ),
    steps('on stream 0, on an idle one, on one that is over', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('GET /x');
      await exchange.expectOver(client, id);
      client.send(metadataFrame(id, ['late: 1']), metadataFrame(0, ['zero: 1']), metadataFrame(99, ['idle: 1']));
      const next = client.request('GET /x');
      await exchange.expectOver(client, next);
    }),
    steps('behind the end of a request that is still answered', async (exchange) => {
      const client = await exchange.http2('a');
      const id = client.request('GET /x');
      client.send(metadataFrame(id, ['behind: the end']));
      await exchange.expectOver(client, id);
    }),
  ],
);
