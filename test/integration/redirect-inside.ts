/**
 * Runs inside a network namespace of its own (see redirect.test.ts): redirects a client's connections by the packet filter, runs
 * one proxy on them and prints what clients and upstreams saw, as one line of JSON. All of 10.0.0.0/8 is this machine.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findPacketFilter } from '../../tools/packet-filter.ts';

const PATIENCE_MS = 20_000;
/** Connections from here are redirected; the proxy's own are not. */
const CLIENT = '10.9.9.9';
const RULES = `table ip t {
  chain out {
    type nat hook output priority -100;
    ip saddr ${CLIENT} ip daddr 10.1.1.1 tcp dport 80-89 redirect to :15001
    ip saddr ${CLIENT} ip daddr 10.1.1.2 tcp dport 80-89 redirect to :15002
    ip saddr ${CLIENT} ip daddr 10.1.1.3 tcp dport 80-89 redirect to :15003
  }
}
`;

const any = (type: string, fields: object = {}) => ({ '@type': `type.googleapis.com/${type}`, ...fields });
const NETWORK = 'envoy.extensions.filters.network';
const LISTENER = 'envoy.extensions.filters.listener';
const filter = (name: string, message: string, fields: object) => ({
  name,
  typed_config: any(`${NETWORK}.${name}.v3.${message}`, fields),
});
const direct = (text: string) => filter('direct_response', 'Config', { response: { inline_string: text } });
const tcp = (cluster: string) => filter('tcp_proxy', 'TcpProxy', { stat_prefix: 't', cluster });
const at = (address: string, port_value: number) => ({ socket_address: { address, port_value } });
const originalDst = { name: 'original_dst', typed_config: any(`${LISTENER}.original_dst.v3.OriginalDst`) };
const originalSrc = {
  name: 'original_src',
  typed_config: any(`${LISTENER}.original_src.v3.OriginalSrc`, { mark: 123 }),
};
const proxyProtocol = { name: 'proxy', typed_config: any(`${LISTENER}.proxy_protocol.v3.ProxyProtocol`) };
const original = (name: string, lb: object = {}) => ({
  name,
  type: 'ORIGINAL_DST',
  lb_policy: 'CLUSTER_PROVIDED',
  connect_timeout: '1s',
  cleanup_interval: '0.5s',
  original_dst_lb_config: lb,
});

function configuration(tmp: string): object {
  const access_log = [
    {
      name: 'file',
      typed_config: any('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
        path: join(tmp, 'log'),
        log_format: {
          text_format_source: { inline_string: '%LISTENER_NAME%|%FILTER_CHAIN_NAME%|%DOWNSTREAM_LOCAL_ADDRESS%\n' },
        },
      }),
    },
  ];
  const listener = (name: string, address: object, filters: object[], more: object = {}) => ({
    name,
    address,
    access_log,
    filter_chains: [{ name, filters }],
    ...more,
  });
  return {
    admin: { address: at('127.0.0.1', 9901) },
    static_resources: {
      listeners: [
        listener('capture', at('0.0.0.0', 15001), [tcp('there')], { use_original_dst: true }),
        listener('exact', at('10.1.1.1', 81), [direct('exact')], { bind_to_port: false }),
        listener('wildcard', at('0.0.0.0', 82), [direct('wildcard')], { bind_to_port: false }),
        listener('proxied', at('10.1.1.1', 83), [tcp('there')], { bind_to_port: false }),
        {
          name: 'chains',
          address: at('0.0.0.0', 15002),
          access_log,
          listener_filters: [originalDst],
          filter_chains: [
            { name: 'by port', filter_chain_match: { destination_port: 84 }, filters: [direct('by port')] },
            {
              name: 'by address',
              filter_chain_match: { prefix_ranges: [{ address_prefix: '10.1.1.2', prefix_len: 32 }] },
              filters: [direct('by address')],
            },
          ],
          default_filter_chain: { name: 'rest', filters: [direct('rest')] },
        },
        listener('other port', at('0.0.0.0', 15003), [tcp('elsewhere')], { listener_filters: [originalDst] }),
        listener('source', at('127.0.0.1', 15004), [tcp('fixed')], { listener_filters: [proxyProtocol, originalSrc] }),
      ],
      clusters: [
        original('there'),
        original('elsewhere', { upstream_port_override: 9000 }),
        {
          name: 'fixed',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'fixed',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: at('10.1.1.4', 9000) } }] }],
          },
        },
      ],
    },
  };
}

/** Tells each client who it is and whom it has reached. */
function upstream(host: string, port: number): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${socket.localAddress}:${socket.localPort} reached from ${socket.remoteAddress}`);
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

/** What came, or how it failed. */
function ask(host: string, port: number, localAddress: string, send = ''): Promise<string> {
  return new Promise((resolve) => {
    let got = '';
    let failure = '';
    const socket = connect({ host, port, localAddress }, () => {
      if (send !== '') socket.write(send);
    });
    socket.on('data', (bytes) => {
      got += bytes.toString('latin1');
    });
    socket.on('error', (error: Error & { code?: string }) => {
      failure = error.code ?? error.message;
    });
    socket.on('close', () => resolve(got === '' ? failure : got));
    setTimeout(() => socket.destroy(), PATIENCE_MS).unref();
  });
}

async function stat(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:9901/stats?filter=${name}`)).text();
  return Number(/: (\d+)/.exec(text)?.[1] ?? -1);
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    if (await condition().catch(() => false)) return;
    if (performance.now() > deadline) throw new Error(`in vain: ${what}`);
    await Bun.sleep(20);
  }
}

const command = process.argv.slice(2);
const packetFilter = findPacketFilter();
if (packetFilter === null) throw new Error('nft is missing: run `node_modules/.bin/bun tools/packet-filter.ts`');
const rules = Bun.spawnSync([packetFilter.nft, '-f', '-'], {
  stdin: Buffer.from(RULES),
  stderr: 'inherit',
  env: { ...process.env, ...packetFilter.env },
});
if (rules.exitCode !== 0) throw new Error('the packet filter refused the rules');
const tmp = mkdtempSync(join(tmpdir(), 'redirect-'));
const servers = [await upstream('10.1.1.1', 80), await upstream('10.1.1.1', 83), await upstream('0.0.0.0', 9000)];
const config = join(tmp, 'envoy.json');
await Bun.write(config, JSON.stringify(configuration(tmp)));
const proxy = Bun.spawn([...command, '-c', config, '--concurrency', '1', '-l', 'error'], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
try {
  await until('the proxy serves', async () => (await fetch('http://127.0.0.1:9901/ready')).status === 200);
  const seen: Record<string, string | number> = {};
  seen['to its own destination'] = await ask('10.1.1.1', 80, CLIENT);
  seen['to a listener of the address'] = await ask('10.1.1.1', 81, CLIENT);
  seen['to a listener of the port'] = await ask('10.1.1.1', 82, CLIENT);
  seen['by a listener that goes on to the destination'] = await ask('10.1.1.1', 83, CLIENT);
  seen['where nobody listens'] = await ask('10.1.1.1', 89, CLIENT);
  seen['a chain by the original port'] = await ask('10.1.1.2', 84, CLIENT);
  seen['a chain by the original address'] = await ask('10.1.1.2', 85, CLIENT);
  seen['no chain of that'] = await ask('10.1.1.1', 15002, '10.9.9.8');
  seen['another port of the destination'] = await ask('10.1.1.3', 86, CLIENT);
  seen['from the address of the client'] = await ask(
    '127.0.0.1',
    15004,
    '127.0.0.1',
    'PROXY TCP4 10.7.7.7 10.1.1.4 1111 80\r\n',
  );
  seen.hosts = await stat('cluster.there.membership_total');
  await until('unused hosts leave', async () => (await stat('cluster.there.membership_total')) === 0);
  seen.invalid = await stat('cluster.there.original_dst_host_invalid');
  proxy.kill('SIGTERM');
  await proxy.exited;
  const log = readFileSync(join(tmp, 'log'), 'utf8').trim().split('\n');
  console.log(JSON.stringify({ seen, log }));
} finally {
  if (proxy.exitCode === null) proxy.kill('SIGKILL');
  for (const server of servers) server.close();
  rmSync(tmp, { recursive: true, force: true });
}
process.exit(0);
