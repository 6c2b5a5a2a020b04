import { cluster, type Fields, http, httpListener, to } from '../differential/configs.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, type CaseOptions, steps } from '../differential/harness.ts';
import { readStats } from '../differential/transcript.ts';
import { httpUpstream, reply, type UpstreamScript } from '../support/scripted-upstream.ts';

/** Gauges that say what a proxy holds: connections, streams, queued requests, buffered bytes. */
const HELD = /^(cluster|http|tcp|listener)\.(?!admin\.).*(_active|_buffered)$/;

/** Waits until nothing is held any more; what is still held after a while is noted. */
async function expectNothingHeld(exchange: Exchange): Promise<void> {
  let held: string[] = [];
  const isEmpty = async (): Promise<boolean> => {
    const stats = readStats((await exchange.proxy.admin('/stats')).body);
    held = [...stats]
      .filter(([name, value]) => HELD.test(name) && value !== 0)
      .map(([name, value]) => `${name}: ${value}`);
    return held.length === 0;
  };
  await exchange.expect('connections, streams and buffers to be released', isEmpty, 5000);
  exchange.note('still held', held.join('\n'));
}

/** The listener `b` and its cluster, for those whom the fault must not touch. */
export const bystanderListener: Fields = httpListener({
  name: 'b',
  routes: [to('good')],
  hcm: { stat_prefix: 'bystander' },
});
export const bystanderCluster: Fields = cluster('good');
export const bystanderUpstream: UpstreamScript = httpUpstream((seen) => reply(200, `good ${seen.path}`));

async function serve(exchange: Exchange, path: string): Promise<void> {
  const answer = await exchange.request(http(`GET ${path}`), { listener: 'b' });
  exchange.note(`bystander ${path}`, answer.split('\r\n')[0] ?? '');
}

/**
 * A fault: `run` brings it about and calls `meanwhile` in the middle of it, when others must be served. Afterwards the
 * proxy must hold nothing and serve on.
 */
export function fault(
  name: string,
  run: (exchange: Exchange, meanwhile: () => Promise<void>) => Promise<void>,
  options: CaseOptions = {},
): Case {
  return steps(
    name,
    async (exchange) => {
      let served = false;
      await run(exchange, async () => {
        served = true;
        await serve(exchange, '/meanwhile');
      });
      await serve(exchange, '/afterwards');
      if (!served) await serve(exchange, '/meanwhile');
      for (const client of exchange.clients) client.end();
      for (const client of exchange.clients) await client.closed(300);
      for (const client of exchange.clients) client.reset();
      await Promise.all([...exchange.side.upstreams.values()].map((upstream) => upstream.forget()));
      await expectNothingHeld(exchange);
    },
    options,
  );
}
