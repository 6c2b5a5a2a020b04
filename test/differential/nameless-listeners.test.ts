import { httpListener } from './configs.ts';
import { answer, dynamicBootstrap, listenerResource, publishListeners, says } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { steps, suite } from './harness.ts';

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const stats = [
  /^listener_manager\.(listener_(added|modified|removed|create_success)|total_listeners_|lds\.update_(attempt|success|rejected))/,
];

function bare(body: string, port: unknown = '{{listen}}') {
  return { ...listenerResource({ routes: [says(body)] }), name: undefined, address: port };
}

/** The listeners, and what they answer; ids that are made up are all the same. */
async function look(exchange: Exchange, asks = true): Promise<void> {
  const ports = await exchange.proxy.listenerPorts();
  const lines: string[] = [];
  for (const [name, port] of ports) {
    if (!asks) {
      lines.push(name.replace(UUID, 'ID'));
      continue;
    }
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
    lines.push(`${name.replace(UUID, 'ID')}: ${await response.text()}`);
  }
  exchange.note('listeners', lines.sort().join('\n'));
  const dump = JSON.parse((await exchange.proxy.admin('/config_dump?resource=dynamic_listeners')).body) as {
    configs?: { name?: string; active_state?: { listener?: { name?: string } }; error_state?: object }[];
  };
  const shown = (dump.configs ?? []).map((each) =>
    [
      (each.name ?? '-').replace(UUID, 'ID'),
      Object.keys(each).filter((key) => key.endsWith('_state')),
      (each.active_state?.listener?.name ?? '-').replace(UUID, 'ID'),
    ].join(' '),
  );
  exchange.note('dump', shown.sort().join('\n'));
}

suite(
  'listeners without names',
  {
    config: dynamicBootstrap(),
    files: { 'lds.json': answer('1', [bare('one')]), 'cds.json': answer('1', []) },
    fresh: true,
    stats,
  },
  [
    steps('at the start', async (exchange) => {
      await look(exchange);
    }),
    steps('another answer replaces them, even by the same', async (exchange) => {
      const before = [...(await exchange.proxy.listenerPorts()).keys()];
      await publishListeners(exchange, '2', [bare('one')]);
      const after = [...(await exchange.proxy.listenerPorts()).keys()];
      exchange.note('the same', String(before[0] === after[0]));
      await publishListeners(exchange, '3', [bare('two')]);
      await look(exchange);
    }),
    steps('one with a name beside it, then only that', async (exchange) => {
      await publishListeners(exchange, '2', [bare('one'), listenerResource({ routes: [says('named')] })]);
      // Envoy gives both the socket of the one that drains: they have "the same" port 0.
      await look(exchange, false);
      await publishListeners(exchange, '3', [listenerResource({ routes: [says('named')] })]);
      await look(exchange);
    }),
    steps('two of them', async (exchange) => {
      await publishListeners(exchange, '2', [bare('one'), bare('two')]);
      await look(exchange);
    }),
    steps('none', async (exchange) => {
      await publishListeners(exchange, '2', []);
      await look(exchange);
    }),
  ],
);

suite(
  'listeners without names, of the bootstrap',
  {
    config: {
      static_resources: {
        listeners: [
          { ...httpListener({ routes: [says('one')] }), name: undefined },
          { ...httpListener({ routes: [says('two')] }), name: undefined },
        ],
      },
    },
    fresh: true,
    stats,
  },
  [
    steps('both serve', async (exchange) => {
      await look(exchange);
      const { body } = await exchange.proxy.admin('/config_dump?resource=static_listeners&mask=listener.name');
      exchange.note('static', body.replace(UUID, 'ID'));
    }),
  ],
);
