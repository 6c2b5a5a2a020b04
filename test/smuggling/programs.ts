import { findEnvoy } from '../../tools/envoy.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import type { ProxyProgram } from '../support/proxy-process.ts';

/** Envoy, and what is compared with it: Nuncio, or Envoy once more with `DIFFERENTIAL_SELF`. */
export function programs(): { oracle: ProxyProgram; subject: ProxyProgram } {
  const envoy = findEnvoy();
  if (envoy === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  const oracle = { name: 'envoy', command: [envoy] };
  if (process.env.DIFFERENTIAL_SELF !== undefined) return { oracle, subject: { ...oracle, name: 'envoy-again' } };
  return { oracle, subject: { name: 'nuncio', command: nuncioCommand() } };
}
