/** The gRPC interop cases: grpc-go's client and server with Nuncio between them, alone and with a real Envoy on either side. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { counterparts } from '../../tools/counterparts.ts';
import { type Fields, http2Cluster, httpFilter, to } from '../differential/configs.ts';
import { runProgram, ServerProgram } from './programs.ts';
import { envoy, nuncio, pemPath, RunningProxy, upstreamTls } from './proxy.ts';

const CASES = [
  'empty_unary',
  'large_unary',
  'client_streaming',
  'server_streaming',
  'ping_pong',
  'empty_stream',
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'status_code_and_message',
  'special_status_message',
  'custom_metadata',
  'unimplemented_method',
  'unimplemented_service',
];

/** Streams may last: the default of 15 seconds is for requests. */
const listener = (filters: readonly Fields[] = []): Parameters<typeof RunningProxy.start>[0] => ({
  routes: [to('u1', '/', { timeout: '0s' })],
  filters,
});

async function interop(port: number, testCase: string, more: readonly string[] = []): Promise<void> {
  const flags = ['--server_host=127.0.0.1', `--server_port=${port}`, `--test_case=${testCase}`, ...more];
  const outcome = await runProgram([counterparts().interopClient, '--use_tls=false', ...flags]);
  expect(outcome.code === 0 ? '' : outcome.errors).toBe('');
}

let server: ServerProgram;
beforeAll(async () => {
  const { interopServer } = counterparts();
  server = await ServerProgram.start((port) => [interopServer, `--port=${port}`, '--use_tls=false']);
});
afterAll(async () => {
  await server?.stop();
});

describe('grpc-go, Nuncio, grpc-go', () => {
  let proxy: RunningProxy;
  beforeAll(async () => {
    const filters = [httpFilter('grpc_web', 'GrpcWeb'), httpFilter('grpc_stats', 'FilterConfig', {})];
    proxy = await RunningProxy.start(listener(filters), [http2Cluster('u1')], { u1: server.port });
  });
  afterAll(async () => {
    await proxy?.stop();
  });

  test.each(CASES)('%s', (testCase) => interop(proxy.port, testCase));

  test('rpc_soak', () => interop(proxy.port, 'rpc_soak', ['-soak_iterations=200', '-soak_num_threads=4']));
  test('channel_soak', () => interop(proxy.port, 'channel_soak', ['-soak_iterations=50', '-soak_num_threads=2']));

  test('nothing is held when all is over', async () => {
    for (const gauge of ['http.ingress.downstream_rq_active', 'cluster.u1.upstream_rq_active']) {
      expect([gauge, await proxy.stat(gauge)]).toEqual([gauge, 0]);
    }
    expect(await proxy.stat('cluster.u1.upstream_cx_protocol_error')).toBe(0);
    expect(await proxy.stat('cluster.u1.grpc.success')).toBeGreaterThan(200);
  });
});

describe('grpc-go, Nuncio, grpc-go, all over TLS', () => {
  let secure: ServerProgram;
  let proxy: RunningProxy;
  beforeAll(async () => {
    const files = [`--tls_cert_file=${pemPath('server-ec.pem')}`, `--tls_key_file=${pemPath('server-ec.key')}`];
    const { interopServer } = counterparts();
    secure = await ServerProgram.start((port) => [interopServer, `--port=${port}`, '--use_tls=true', ...files]);
    const clusters = [http2Cluster('u1', {}, { transport_socket: upstreamTls })];
    proxy = await RunningProxy.start(listener(), clusters, { u1: secure.port }, nuncio, true);
  });
  afterAll(async () => {
    await proxy?.stop();
    await secure?.stop();
  });

  const flags = ['--use_tls=true', '--use_test_ca=true', `--ca_file=${pemPath('root.pem')}`];
  test.each(CASES)('%s', (testCase) => interop(proxy.port, testCase, [...flags, '--server_host_override=server.test']));
});

/** A gRPC call by way of HTTP/1: what a browser or a script can do. */
describe('HTTP/1 clients, Nuncio, grpc-go', () => {
  let proxy: RunningProxy;
  let url: string;
  beforeAll(async () => {
    const filters = [
      httpFilter('grpc_web', 'GrpcWeb'),
      httpFilter('grpc_http1_bridge', 'Config', { upgrade_protobuf_to_grpc: true }),
    ];
    proxy = await RunningProxy.start(listener(filters), [http2Cluster('u1')], { u1: server.port });
    url = `http://127.0.0.1:${proxy.port}/grpc.testing.TestService`;
  });
  afterAll(async () => {
    await proxy?.stop();
  });

  /** SimpleRequest {response_size: 3}, and the frame around it. */
  const wanted = Buffer.from([16, 3]);
  const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, wanted.length]), wanted]);
  /** SimpleResponse {payload {body: "\0\0\0"}} */
  const payload = Buffer.from([10, 5, 18, 3, 0, 0, 0]);
  const framedPayload = Buffer.concat([Buffer.from([0, 0, 0, 0, payload.length]), payload]);

  async function post(
    method: string,
    type: string,
    body: Uint8Array<ArrayBuffer> | string,
    accept = '*/*',
  ): Promise<Response> {
    const headers = { 'content-type': type, accept };
    return fetch(`${url}/${method}`, { method: 'POST', headers, body });
  }

  test('gRPC-Web in binary', async () => {
    const answer = await post('UnaryCall', 'application/grpc-web+proto', framed);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/grpc-web+proto']);
    const body = Buffer.from(await answer.arrayBuffer());
    expect(body.subarray(0, framedPayload.length)).toEqual(framedPayload);
    const trailers = body.subarray(framedPayload.length);
    expect([trailers[0], trailers.readUInt32BE(1)]).toEqual([0x80, trailers.length - 5]);
    expect(trailers.toString('latin1')).toContain('grpc-status:0\r\n');
  });

  test('gRPC-Web in text', async () => {
    const type = 'application/grpc-web-text';
    const answer = await post('UnaryCall', type, framed.toString('base64'), type);
    const text = await answer.text();
    expect(text).toStartWith(framedPayload.toString('base64'));
    const trailers = Buffer.from(text.slice(framedPayload.toString('base64').length), 'base64').toString('latin1');
    expect(trailers).toContain('grpc-status:0\r\n');
  });

  test('gRPC-Web, a method that is not there', async () => {
    const answer = await post('Nothing', 'application/grpc-web', framed);
    expect([answer.status, answer.headers.get('grpc-status')]).toEqual([200, '12']);
  });

  test('the bridge', async () => {
    const answer = await post('UnaryCall', 'application/grpc', framed);
    expect([answer.status, answer.headers.get('grpc-status')]).toEqual([200, '0']);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(framedPayload);
  });

  test('the bridge, from bare protobuf', async () => {
    const answer = await post('UnaryCall', 'application/x-protobuf', wanted);
    expect([answer.status, answer.headers.get('grpc-status')]).toEqual([200, '0']);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(payload);
  });

  test('the bridge, an error in the trailers', async () => {
    // SimpleRequest {response_status {code: 9, message: "no"}}
    const body = Buffer.from([58, 6, 8, 9, 18, 2, 110, 111]);
    const answer = await post('UnaryCall', 'application/x-protobuf', body);
    expect([answer.headers.get('grpc-status'), answer.headers.get('grpc-message')]).toEqual(['9', 'no']);
  });
});

for (const [name, first, second] of [
  ['grpc-go, Nuncio, Envoy, grpc-go', nuncio, envoy()],
  ['grpc-go, Envoy, Nuncio, grpc-go', envoy(), nuncio],
] as const) {
  describe(name, () => {
    let near: RunningProxy;
    let far: RunningProxy;
    beforeAll(async () => {
      far = await RunningProxy.start(listener(), [http2Cluster('u1')], { u1: server.port }, second);
      near = await RunningProxy.start(listener(), [http2Cluster('u1')], { u1: far.port }, first);
    });
    afterAll(async () => {
      await near?.stop();
      await far?.stop();
    });

    test.each(CASES)('%s', (testCase) => interop(near.port, testCase));
  });
}
