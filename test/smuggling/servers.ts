import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServers } from '../../tools/servers.ts';
import { freePort } from '../support/free-port.ts';
import { connectRaw } from '../support/raw-client.ts';
import { httpUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';

/** A real server that answers each request with `METHOD TARGET BODY-LENGTH`, as it understood them. */
export interface EchoServer {
  readonly name: string;
  readonly port: number;
}

async function accepting(port: number, child: Bun.Subprocess): Promise<void> {
  for (const deadline = performance.now() + 10_000; ; await Bun.sleep(10)) {
    try {
      (await connectRaw({ port })).reset();
      return;
    } catch (failure) {
      if (performance.now() > deadline || child.exitCode !== null) throw failure;
    }
  }
}

/** nginx, lighttpd and Node. The first two read the whole request and pass it to a backend that says what came of it. */
export class EchoServers {
  readonly all: EchoServer[] = [];
  readonly #children: Bun.Subprocess<'pipe' | 'ignore', 'pipe' | 'ignore', 'inherit' | 'ignore'>[] = [];
  readonly #backend: ScriptedUpstream;
  #directory = '';

  constructor() {
    this.#backend = new ScriptedUpstream(
      httpUpstream((seen) => reply(200, `${seen.method} ${seen.path} ${seen.body.length}`)),
    );
  }

  async start(): Promise<void> {
    const programs = findServers();
    if (programs === null)
      throw new Error('nginx or lighttpd is missing: run `node_modules/.bin/bun tools/servers.ts`');
    this.#directory = await mkdtemp(join(tmpdir(), 'smuggling-servers-'));
    mkdirSync(join(this.#directory, 'body'));
    const backend = this.#backend.start();
    const env = { ...process.env, ...programs.env };

    const nginxPort = freePort();
    const nginxConfig = join(this.#directory, 'nginx.conf');
    await Bun.write(nginxConfig, this.#nginx(nginxPort, backend));
    const nginx = Bun.spawn([programs.nginx, '-p', this.#directory, '-c', nginxConfig, '-e', 'nginx-errors'], {
      stdio: ['ignore', 'ignore', 'ignore'],
      env,
    });
    this.#children.push(nginx);

    const lighttpdPort = freePort();
    const lighttpdConfig = join(this.#directory, 'lighttpd.conf');
    await Bun.write(lighttpdConfig, this.#lighttpd(lighttpdPort, backend));
    const modules = programs.lighttpdModules === '' ? [] : ['-m', programs.lighttpdModules];
    const lighttpd = Bun.spawn([programs.lighttpd, '-D', '-f', lighttpdConfig, ...modules], {
      stdio: ['ignore', 'ignore', 'ignore'],
      env,
    });
    this.#children.push(lighttpd);

    const node = Bun.spawn(['node', join(import.meta.dir, 'echo-server.mjs')], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(node);
    const first = await node.stdout.getReader().read();
    const nodePort = Number(new TextDecoder().decode(first.value).trim());

    await accepting(nginxPort, nginx);
    await accepting(lighttpdPort, lighttpd);
    this.all.push({ name: 'nginx', port: nginxPort }, { name: 'node', port: nodePort });
    this.all.push({ name: 'lighttpd', port: lighttpdPort });
  }

  #nginx(port: number, backend: number): string {
    const folder = this.#directory;
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (kind) => `${kind}_temp_path ${folder}/body;`,
    );
    return `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid;
events { worker_connections 512; }
http {
  access_log off; ${temporary.join(' ')}
  keepalive_timeout 60s; keepalive_requests 100000; reset_timedout_connection off; lingering_close off;
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://127.0.0.1:${backend}; proxy_request_buffering on; }
  }
}
`;
  }

  #lighttpd(port: number, backend: number): string {
    return `server.document-root = "${this.#directory}"
server.bind = "127.0.0.1"
server.port = ${port}
server.modules = ( "mod_proxy" )
server.max-keep-alive-requests = 60000
server.max-keep-alive-idle = 60
server.upload-dirs = ( "${this.#directory}/body" )
server.errorlog = "${this.#directory}/lighttpd-errors"
proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => ${backend} ) ) )
`;
  }

  async stop(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const child of this.#children) await child.exited;
    this.#backend.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
