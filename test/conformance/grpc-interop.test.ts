/** The gRPC interop cases: grpc-go's client and server with Nuncio between them, alone and with a real Envoy on either side. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { counterparts } from '../../tools/counterparts.ts';
import { type Fields, httpFilter, to } from '../differential/configs.ts';
import { runProgram, ServerProgram } from './programs.ts';
import { envoy, http2Cluster, nuncio, RunningProxy } from './proxy.ts';

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
  const flags = ['--server_host=127.0.0.1', `--server_port=${port}`, '--use_tls=false', `--test_case=${testCase}`];
  const outcome = await runProgram([counterparts().interopClient, ...flags, ...more]);
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
