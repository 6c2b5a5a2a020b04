/**
 * One control plane over a directory of manifests, and two proxies that follow it: Nuncio and the real Envoy, each as a gateway of its own
 * with the same listeners on other ports, and the same routes.
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { parse } from 'yaml';
import { installEnvoy } from '../../tools/envoy.ts';
import { freePort } from './free-port.ts';
import { nuncioCommand } from './nuncio-command.ts';
import { followerBootstrap, until } from './pilot-stage.ts';
import { ProxyProcess } from './proxy-process.ts';

export const GATEWAY_API = 'gateway.networking.k8s.io/v1';

export interface Conditions {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
}

interface Status {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly conditions?: readonly Conditions[];
  readonly listeners?: readonly {
    readonly name: string;
    readonly attachedRoutes: number;
    readonly conditions: readonly Conditions[];
  }[];
  readonly parents?: readonly {
    readonly parentRef: { readonly name: string };
    readonly conditions: readonly Conditions[];
  }[];
  readonly ancestors?: readonly { readonly conditions: readonly Conditions[] }[];
}

/** Who follows: the names of the gateways. */
export const FOLLOWERS = ['nuncio', 'envoy'] as const;
export type Follower = (typeof FOLLOWERS)[number];

export class GatewayScene {
  readonly #directory = mkdtempSync(join(tmpdir(), 'gateway-'));
  readonly #ends: (() => Promise<unknown> | unknown)[] = [];
  readonly #objects: object[] = [];
  /** By follower and label. */
  readonly #ports = new Map<string, number>();
  /** By follower and listener. */
  readonly #sectionPorts = new Map<string, number>();

  constructor() {
    this.add({
      apiVersion: GATEWAY_API,
      kind: 'GatewayClass',
      metadata: { name: 'nuncio' },
      spec: { controllerName: 'nuncio.dev/gateway-controller' },
    });
  }

  onEnd(end: () => Promise<unknown> | unknown): void {
    this.#ends.push(end);
  }

  add(...objects: readonly object[]): void {
    this.#objects.push(...objects);
  }

  /**
   * A gateway for each follower.
   * @param listeners `port` is a label of one's own: the same label is the same port
   * @param more further fields of the spec
   */
  gateways(
    listeners: readonly ({ readonly port: string } & Record<string, unknown>)[],
    more: (portOf: (label: string) => number) => object = () => ({}),
  ): void {
    for (const name of FOLLOWERS) {
      const own = listeners.map((each) => ({ ...each, port: this.#assign(`${name} ${each.port}`) }));
      for (const each of own) this.#sectionPorts.set(`${name} ${(each as { name?: string }).name}`, each.port);
      this.add({
        apiVersion: GATEWAY_API,
        kind: 'Gateway',
        metadata: { name },
        spec: { gatewayClassName: 'nuncio', listeners: own, ...more((label) => this.port(name, label)) },
      });
    }
  }

  #assign(key: string): number {
    const port = this.#ports.get(key) ?? freePort();
    this.#ports.set(key, port);
    return port;
  }

  port(follower: Follower, label: string): number {
    return this.#ports.get(`${follower} ${label}`)!;
  }

  /** A route on both gateways. */
  route(kind: string, name: string, spec: Record<string, unknown>, section?: string, namespace?: string): void {
    const more = { ...(section === undefined ? {} : { sectionName: section }) };
    const parentRefs = FOLLOWERS.map((each) => ({ name: each, namespace: 'default', ...more }));
    const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
    this.add({ apiVersion: GATEWAY_API, kind, metadata, spec: { parentRefs, ...spec } });
  }

  /** A service at one port of this machine. */
  service(name: string, port: number, more: Record<string, unknown> = {}, namespace = 'default'): void {
    this.add(
      { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { ports: [{ port: 80, ...more }] } },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
        ports: [{ name: more.name ?? '', port }],
        endpoints: [{ addresses: ['127.0.0.1'] }],
      },
    );
  }

  secret(name: string, certificate: string, key: string, namespace = 'default'): void {
    this.add({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace },
      type: 'kubernetes.io/tls',
      stringData: { 'tls.crt': certificate, 'tls.key': key },
    });
  }

  write(): void {
    const path = join(this.#directory, 'manifests', 'all.json');
    writeFileSync(`${path}.new`, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: this.#objects }));
    renameSync(`${path}.new`, path);
  }

  async start(): Promise<void> {
    await Bun.write(join(this.#directory, 'manifests', '.keep'), '');
    this.write();
    const flags = [
      '--gateway-api',
      join(this.#directory, 'manifests'),
      '--status',
      join(this.#directory, 'status.yaml'),
    ];
    const command = [...nuncioCommand(), 'pilot', '--listen', '127.0.0.1:0', ...flags];
    const child: Subprocess<'ignore', 'inherit', 'pipe'> = Bun.spawn(command, { stdio: ['ignore', 'inherit', 'pipe'] });
    let log = '';
    void (async () => {
      for await (const bytes of child.stderr) log += Buffer.from(bytes).toString();
    })();
    this.onEnd(async () => {
      child.kill();
      await child.exited;
    });
    const served = (): string | undefined => /served on 127\.0\.0\.1:(\d+)/.exec(log)?.[1];
    await until('the pilot', () => {
      if (child.exitCode !== null) throw new Error(`the pilot ended: ${log}`);
      return served() !== undefined;
    });
    if (log.includes('nothing is changed')) throw new Error(log);
    const commands: Readonly<Record<Follower, readonly string[]>> = {
      nuncio: nuncioCommand(),
      envoy: [await installEnvoy()],
    };
    try {
      for (const name of FOLLOWERS) await this.#follow(name, commands[name], Number(served()));
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${log}`);
    }
    if (/refuses/.test(log)) throw new Error(log);
  }

  async #follow(name: Follower, command: readonly string[], pilot: number): Promise<void> {
    const bootstrap = followerBootstrap(pilot, 'DELTA_GRPC', { id: name, cluster: `default/${name}` });
    const proxy = await ProxyProcess.start({ name, command }, this.#directory, JSON.stringify(bootstrap));
    this.onEnd(() => proxy.stop());
    await until(`the listeners of ${name}`, async () => {
      const ports = await proxy.listenerPorts();
      const { listeners = [] } = this.statusOf('Gateway', name);
      const served = listeners.filter(({ conditions }) =>
        conditions.some(({ type, status }) => type === 'Programmed' && status === 'True'),
      );
      return served.every((each) => [...ports.values()].includes(this.#sectionPorts.get(`${name} ${each.name}`)!));
    });
  }

  /** The statuses as they were last written. */
  statusOf(kind: string, name: string): Status {
    const all = parse(readFileSync(join(this.#directory, 'status.yaml'), 'utf8')) as Status[];
    const found = all.find((each) => each.kind === kind && each.metadata.name === name);
    if (found === undefined) throw new Error(`${kind} ${name} has no status`);
    return found;
  }

  /** `Type=Status/Reason` of an object, or of the first parent or ancestor. */
  conditionsOf(kind: string, name: string): string[] {
    const { conditions, parents, ancestors } = this.statusOf(kind, name);
    const list = conditions ?? parents?.[0]?.conditions ?? ancestors?.[0]?.conditions ?? [];
    return list.map(({ type, status, reason }) => `${type}=${status}/${reason}`);
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
