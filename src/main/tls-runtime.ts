import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import type { TlsClientSettings, TlsServerSettings } from '../net/tls/tls-settings.ts';
import type { TlsEngine } from '../net/transport-socket.ts';

export type TlsFactory = (dispatcher: Dispatcher) => TlsEngine;

/** What the runtime says of TLS settings; null: it can carry them out. */
export type TlsRefusal = (settings: TlsServerSettings | TlsClientSettings) => string | null;

/** TLS of the runtime that this process runs on. */
export async function loadTls(): Promise<TlsFactory> {
  if ('Bun' in globalThis) {
    const { BunTlsEngine } = await import('../net/bun/bun-tls-engine.ts');
    return (dispatcher) => new BunTlsEngine(dispatcher);
  }
  const { NodeTlsEngine } = await import('../net/node/node-tls-engine.ts');
  return (dispatcher) => new NodeTlsEngine(dispatcher);
}

/** For dry builds. */
export function tlsRefusal(createTls: TlsFactory): TlsRefusal {
  const engine = createTls(new Dispatcher(new SystemClock(), new SystemRandom()));
  return (settings) => engine.refusal(settings);
}
