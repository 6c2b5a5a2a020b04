/** Clients of other makers in front of Nuncio: curl, nghttp, Node's http2 and Python's h2; and servers of other makers behind it. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { counterparts } from '../../tools/counterparts.ts';
import { findServers } from '../../tools/servers.ts';
import { cluster, type Fields, http2Cluster } from '../differential/configs.ts';
import { answerTo, exchangeLines, startHttp1Server } from './answers.ts';
import { runProgram, ServerProgram } from './programs.ts';
import { envoy, RunningProxy } from './proxy.ts';

interface Backend {
  readonly name: string;
  readonly cluster: Fields;
  /** Takes trailers of requests; nginx 1.22 closes the connection instead. */
  readonly trailers: boolean;
  start(): Promise<{ port: number; stop: () => void | Promise<void> }>;
}

/** nginx in front of the HTTP/1 server, spoken to by HTTP/2 without TLS. */
async function startNginx(): Promise<{ port: number; stop: () => Promise<void> }> {
  const programs = findServers();
  if (programs === null) throw new Error('nginx is missing: run `node_modules/.bin/bun tools/servers.ts`');
  const origin = startHttp1Server();
  const directory = await mkdtemp(join(tmpdir(), 'conformance-nginx-'));
  await mkdir(join(directory, 'temp'));
  const config = join(directory, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const server = await ServerProgram.start((port) => {
    const text = `
        daemon off; master_process off; pid ${directory}/pid; error_log ${directory}/errors;
        events {}
        http {
          access_log off; client_max_body_size 0;
          # With its default nginx refuses every stream with a body until its settings are acknowledged.
          http2_body_preread_size 128k;
          ${temporary.map((name) => `${name}_temp_path ${directory}/temp/${name};`).join('\n')}
          server {
            listen 127.0.0.1:${port} http2;
            location / { proxy_pass http://127.0.0.1:${origin.port}; proxy_http_version 1.1; }
          }
        }`;
    writeFileSync(config, text);
    return [programs.nginx, '-p', directory, '-c', config, '-e', join(directory, 'errors')];
  }, programs.env);
  const stop = async (): Promise<void> => {
    await server.stop();
    origin.stop();
    await rm(directory, { recursive: true, force: true });
  };
  return { port: server.port, stop };
}

const backends: readonly Backend[] = [
  { name: 'an HTTP/1 server', cluster: cluster('u1'), trailers: true, start: async () => startHttp1Server() },
  {
    name: 'Node (HTTP/2)',
    cluster: http2Cluster('u1'),
    trailers: true,
    start: () => ServerProgram.start((port) => ['node', join(import.meta.dir, 'h2-server.mjs'), String(port)]),
  },
  { name: 'nginx (HTTP/2)', cluster: http2Cluster('u1'), trailers: false, start: startNginx },
  {
    name: 'Envoy (HTTP/2)',
    cluster: http2Cluster('u1'),
    trailers: true,
    start: async () => {
      const origin = startHttp1Server();
      const proxy = await RunningProxy.start({}, [cluster('u1')], { u1: origin.port }, envoy());
      const stop = async (): Promise<void> => {
        await proxy.stop();
        origin.stop();
      };
      return { port: proxy.port, stop };
    },
  },
];

for (const backend of backends) {
  describe(`in front of ${backend.name}`, () => {
    let server: { port: number; stop: () => void | Promise<void> };
    let proxy: RunningProxy;
    let url: string;
    const flags = backend.trailers ? [] : ['no-trailers'];
    beforeAll(async () => {
      server = await backend.start();
      const hcm = { http_protocol_options: { enable_trailers: true } };
      proxy = await RunningProxy.start({ hcm }, [backend.cluster], { u1: server.port });
      url = `http://127.0.0.1:${proxy.port}`;
    });
    afterAll(async () => {
      await proxy?.stop();
      await server?.stop();
    });

    for (const flag of ['--http1.1', '--http2-prior-knowledge']) {
      test(`curl ${flag}`, async () => {
        const curl = ['curl', '--silent', '--show-error', flag, '--write-out', ' %{http_code} %{http_version} '];
        const version = flag === '--http1.1' ? '1.1' : '2';
        // One each: curl 7.88 cannot use such a connection twice, with Envoy neither.
        for (const path of ['/a', '/missing']) {
          const got = await runProgram([...curl, url + path]);
          const answer = answerTo('GET', path, Buffer.alloc(0));
          expect([got.errors, got.output]).toEqual(['', `${answer.body} ${answer.status} ${version} `]);
        }
        const directory = await mkdtemp(join(tmpdir(), 'conformance-curl-'));
        const body = Buffer.alloc(2_000_000, 'b');
        await Bun.write(join(directory, 'body'), body);
        const sent = await runProgram([...curl, '--data-binary', `@${directory}/body`, `${url}/sent`]);
        await rm(directory, { recursive: true });
        expect([sent.errors, sent.output]).toEqual(['', `${answerTo('POST', '/sent', body).body} 200 ${version} `]);
        const head = await runProgram([...curl, '--head', `${url}/head`]);
        expect(head.output).toContain(` 200 ${version} `);
      });
    }

    test('nghttp: many streams at once, small windows, padding', async () => {
      const { nghttp, nghttpEnv } = counterparts();
      for (const more of [[], ['-w10', '-W12'], ['--padding=30'], ['--no-dep', '--header-table-size=0']]) {
        const got = await runProgram([nghttp, '-m30', ...more, `${url}/large`], nghttpEnv);
        // The bodies come interleaved.
        const expected = answerTo('GET', '/large', Buffer.alloc(0)).body.length * 30;
        expect([more, got.code, got.errors, got.output.length]).toEqual([more, 0, '', expected]);
      }
    });

    test('Node', async () => {
      const got = await runProgram(['node', join(import.meta.dir, 'h2-client.mjs'), String(proxy.port), ...flags]);
      expect(got.output.trimEnd().split('\n')).toEqual([...exchangeLines]);
    });

    test('Python h2', async () => {
      const { python, pythonPath } = counterparts();
      const command = [python, join(import.meta.dir, 'h2-client.py'), String(proxy.port), ...flags];
      const got = await runProgram(command, { PYTHONPATH: pythonPath });
      expect(got.errors).toBe('');
      expect(got.output.trimEnd().split('\n')).toEqual([...exchangeLines]);
    });

    test('nothing is held when all is over', async () => {
      for (const gauge of ['http.ingress.downstream_rq_active', 'cluster.u1.upstream_rq_active']) {
        expect([gauge, await proxy.stat(gauge)]).toEqual([gauge, 0]);
      }
      expect(await proxy.stat('cluster.u1.upstream_cx_protocol_error')).toBe(0);
    });
  });
}
