/**
 * A cluster for the Gateway API's conformance suite, without Kubernetes: pods are processes, each with an address of the loopback; the
 * control plane under test reads its manifests from a directory and writes its statuses to a file; every gateway has an address, and a
 * proxy that follows the control plane.
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Subprocess } from 'bun';
import { parse } from 'yaml';
import { freePort } from '../support/free-port.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { followerBootstrap } from '../support/pilot-stage.ts';
import { type KubernetesObject, ObjectStore } from './object-store.ts';

const READ = [
  'GatewayClass Gateway HTTPRoute GRPCRoute TLSRoute TCPRoute UDPRoute ReferenceGrant BackendTLSPolicy ListenerSet',
  'Service EndpointSlice Secret ConfigMap Namespace',
].flatMap((line) => line.split(' '));

interface PodTemplate {
  readonly metadata: { readonly labels?: Record<string, string> };
  readonly spec: {
    readonly containers: readonly {
      readonly env?: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[];
      readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
    }[];
    readonly volumes?: readonly {
      readonly name: string;
      readonly secret?: { readonly secretName: string; readonly items?: readonly { key: string; path: string }[] };
      readonly configMap?: { readonly name: string; readonly items?: readonly { key: string; path: string }[] };
    }[];
  };
}

/** Ports that an echo server listens on inside of its container, with the variable that moves each. */
const ECHO_PORTS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  http: { 3000: 'HTTP_PORT', 3001: 'H2C_PORT', 8443: 'HTTPS_PORT' },
  grpc: { 3000: 'HTTP_PORT', 8443: 'HTTPS_PORT' },
  tcp: { 3000: 'TCP_PORT', 8443: 'TLS_PORT' },
};

/** Passes connections to one address on to a port of 127.0.0.1. */
function forward(hostname: string, port: number, target: number): () => void {
  interface Side {
    peer: Bun.Socket<Side> | null;
    waiting: Uint8Array[];
    ended: boolean;
  }
  const flush = (socket: Bun.Socket<Side>): void => {
    const { waiting } = socket.data;
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const written = Math.max(0, socket.write(first));
      if (written < first.length) {
        waiting[0] = first.subarray(written);
        return;
      }
      waiting.shift();
    }
    if (socket.data.ended) socket.end();
  };
  const send = (to: Side, socket: Bun.Socket<Side> | null, bytes: Uint8Array): void => {
    to.waiting.push(new Uint8Array(bytes));
    if (socket !== null) flush(socket);
  };
  const handlers = {
    data: (socket: Bun.Socket<Side>, bytes: Uint8Array): void => {
      if (socket.data.peer !== null) send(socket.data.peer.data, socket.data.peer, bytes);
      else pending.get(socket)?.waiting.push(new Uint8Array(bytes));
    },
    drain: flush,
    close: (socket: Bun.Socket<Side>): void => {
      const { peer } = socket.data;
      if (peer === null) return;
      peer.data.ended = true;
      flush(peer);
    },
    error: (): void => {},
  };
  /** What has come in before the other side is there. */
  const pending = new Map<Bun.Socket<Side>, Side>();
  const side = (): Side => ({ peer: null, waiting: [], ended: false });
  const server = Bun.listen<Side>({
    hostname,
    port,
    socket: {
      ...handlers,
      open: (socket) => {
        socket.data = side();
        const other = side();
        pending.set(socket, other);
        Bun.connect<Side>({
          hostname: '127.0.0.1',
          port: target,
          data: other,
          socket: {
            ...handlers,
            open: (peer) => {
              peer.data.peer = socket;
              socket.data.peer = peer;
              pending.delete(socket);
              flush(peer);
            },
            connectError: () => {
              pending.delete(socket);
              socket.terminate();
            },
          },
        }).catch(() => socket.terminate());
      },
    },
  });
  return () => server.stop(true);
}

interface Pod {
  readonly object: KubernetesObject;
  readonly template: PodTemplate;
  child: Subprocess | null;
  readonly log: { readonly atMs: number; readonly line: string }[];
  readonly ends: (() => void)[];
}

export class SmallCluster {
  readonly store = new ObjectStore();
  readonly #directory = mkdtempSync(join(tmpdir(), 'gateway-api-'));
  readonly #echo: string;
  readonly #proxy: readonly string[];
  readonly #pods = new Map<string, Pod>();
  readonly #addresses = new Map<string, string>();
  readonly #proxies = new Map<string, Subprocess>();
  #pilot: Subprocess | null = null;
  #pilotPort = 0;
  #hosts = 0;
  #writing: ReturnType<typeof setTimeout> | null = null;
  #statusTimer: ReturnType<typeof setInterval> | null = null;
  #statusText = '';
  /** Resolved once the control plane has said what it makes of the GatewayClass: what it claims is read from there. */
  readonly #firstStatus = Promise.withResolvers<void>();

  /**
   * @param echo the suite's echo server
   * @param proxy the command of the proxies
   */
  constructor(echo: string, proxy: readonly string[]) {
    this.#echo = echo;
    this.#proxy = proxy;
    this.store.onChange = (object, change) => this.#changed(object, change);
    this.store.logOf = (namespace, name, since) =>
      (this.#pods.get(`${namespace}/${name}`)?.log ?? [])
        // Times on the wire have whole seconds.
        .filter(({ atMs }) => atMs >= since.getTime())
        .map(({ line }) => line)
        .join('\n');
  }

  /** @returns a kubeconfig */
  async start(): Promise<string> {
    mkdirSync(join(this.#directory, 'manifests'));
    const url = this.store.start();
    this.store.create({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: {
        name: 'gateways.gateway.networking.k8s.io',
        annotations: {
          'gateway.networking.k8s.io/bundle-version': 'v1.6.1',
          'gateway.networking.k8s.io/channel': 'experimental',
        },
      },
    });
    this.store.create({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'GatewayClass',
      metadata: { name: 'nuncio' },
      spec: { controllerName: 'nuncio.dev/gateway-controller' },
    });
    this.#write();
    await this.#startPilot();
    this.#statusTimer = setInterval(() => this.#readStatuses(), 20);
    await this.#firstStatus.promise;
    const config = join(this.#directory, 'kubeconfig');
    writeFileSync(
      config,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'small', cluster: { server: url } }],
        contexts: [{ name: 'small', context: { cluster: 'small', user: 'me' } }],
        users: [{ name: 'me', user: {} }],
        'current-context': 'small',
      }),
    );
    return config;
  }

  async stop(): Promise<void> {
    if (this.#statusTimer !== null) clearInterval(this.#statusTimer);
    if (this.#writing !== null) clearTimeout(this.#writing);
    this.store.stop();
    const children = [...this.#proxies.values(), this.#pilot, ...[...this.#pods.values()].map(({ child }) => child)];
    for (const { ends } of this.#pods.values()) for (const end of ends) end();
    for (const child of children) child?.kill('SIGKILL');
    await Promise.all(children.map((child) => child?.exited));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  // --- pods ---

  #changed(object: KubernetesObject, change: 'created' | 'updated' | 'deleted'): void {
    // One that was removed and made again is to have its status, even if it is the one from before.
    if (change === 'created') this.#statusText = '';
    if (object.kind === 'Deployment') {
      if (change === 'created') this.#deploy(object);
      if (change === 'deleted') this.#undeploy(object);
    }
    if (object.kind === 'Secret' || object.kind === 'ConfigMap') {
      for (const pod of this.#pods.values()) if (pod.child === null) this.#startPod(pod);
    }
    if (object.kind === 'Gateway') {
      const key = `${object.metadata.namespace}/${object.metadata.name}`;
      if (change === 'created') {
        this.#addresses.set(key, `127.80.${++this.#hosts >> 8}.${this.#hosts & 0xff}`);
        this.#startProxy(key);
      }
      if (change === 'deleted') {
        this.#proxies.get(key)?.kill('SIGKILL');
        this.#proxies.delete(key);
      }
    }
    this.#writing ??= setTimeout(() => {
      this.#writing = null;
      this.#write();
    }, 5);
  }

  #deploy(deployment: KubernetesObject): void {
    const { replicas = 1, template } = deployment.spec as { replicas?: number; template: PodTemplate };
    for (let index = 0; index < replicas; index++) {
      // As a Deployment names them: the suite takes two parts off.
      const name = `${deployment.metadata.name}-pods-${index}`;
      const namespace = deployment.metadata.namespace!;
      const host = ++this.#hosts;
      const object = this.store.create({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace, ...(template.metadata.labels ? { labels: template.metadata.labels } : {}) },
        spec: { containers: [] },
        status: { phase: 'Pending', podIP: `127.81.${host >> 8}.${host & 0xff}` },
      });
      const pod: Pod = { object, template, child: null, log: [], ends: [] };
      this.#pods.set(`${namespace}/${name}`, pod);
      this.#startPod(pod);
    }
  }

  #undeploy(deployment: KubernetesObject): void {
    for (const [key, pod] of this.#pods) {
      if (!key.startsWith(`${deployment.metadata.namespace}/${deployment.metadata.name}-pods-`)) continue;
      for (const end of pod.ends) end();
      pod.child?.kill('SIGKILL');
      this.#pods.delete(key);
      this.store.remove('Pod', pod.object.metadata.namespace!, pod.object.metadata.name);
    }
  }

  /** Starts a pod once everything that it mounts is there. */
  #startPod(pod: Pod): void {
    const { namespace = '', name } = pod.object.metadata;
    const [container] = pod.template.spec.containers;
    const mounts = join(this.#directory, 'pods', namespace, name);
    for (const volume of pod.template.spec.volumes ?? []) {
      const mount = container?.volumeMounts?.find((each) => each.name === volume.name);
      if (mount === undefined) continue;
      const secret = volume.secret;
      const source =
        secret === undefined
          ? this.store.find('ConfigMap', namespace, volume.configMap?.name ?? '')
          : this.store.find('Secret', namespace, secret.secretName);
      if (source === null) return;
      const data = (source.data ?? {}) as Record<string, string>;
      const items = (secret ?? volume.configMap)?.items ?? Object.keys(data).map((key) => ({ key, path: key }));
      for (const { key, path } of items) {
        const file = join(mounts, mount.mountPath, path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, secret === undefined ? (data[key] ?? '') : Buffer.from(data[key] ?? '', 'base64'));
      }
    }
    const env: Record<string, string> = {};
    for (const { name: variable, value, valueFrom } of container?.env ?? []) {
      const field = (valueFrom as { fieldRef?: { fieldPath: string } } | undefined)?.fieldRef?.fieldPath;
      if (field === 'metadata.name') env[variable] = name;
      else if (field === 'metadata.namespace') env[variable] = namespace;
      else if (value?.startsWith('/etc/')) env[variable] = join(mounts, value);
      else env[variable] = value ?? '';
    }
    const kind = env.GRPC_ECHO_SERVER ? 'grpc' : env.TCP_ECHO_SERVER ? 'tcp' : 'http';
    const podIp = (pod.object.status as { podIP: string }).podIP;
    for (const [port, variable] of Object.entries(ECHO_PORTS[kind]!)) {
      const inside = env[variable] === undefined || env[variable] === '' ? Number(port) : Number(env[variable]);
      const moved = freePort();
      env[variable] = `${moved}`;
      pod.ends.push(forward(podIp, inside, moved));
    }
    this.#runPod(pod, env);
    pod.object.status = {
      phase: 'Running',
      podIP: podIp,
      podIPs: [{ ip: podIp }],
      conditions: [{ type: 'Ready', status: 'True' }],
    };
  }

  /** Runs the process of a pod, again and again: another may have had one of its ports. */
  #runPod(pod: Pod, env: Record<string, string>): void {
    const child = Bun.spawn([this.#echo], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    pod.child = child;
    let ended = false;
    pod.ends.push(() => {
      ended = true;
    });
    void child.exited.then(async () => {
      await Bun.sleep(100);
      if (!ended) this.#runPod(pod, env);
    });
    const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      let rest = '';
      for await (const bytes of stream) {
        const lines = (rest + Buffer.from(bytes).toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) pod.log.push({ atMs: Date.now(), line });
      }
    };
    void collect(child.stdout);
    void collect(child.stderr);
  }

  // --- what the control plane reads ---

  #write(): void {
    const items = READ.flatMap((kind) => this.store.all(kind)).map((object) => {
      const { status, ...rest } = object;
      if (object.kind !== 'Gateway') return rest;
      const key = `${object.metadata.namespace}/${object.metadata.name}`;
      const value = this.#addresses.get(key) ?? '';
      const asked = (object.spec?.addresses ?? []) as unknown[];
      const addresses = asked.length > 0 ? asked : [{ type: 'IPAddress', value }];
      return { ...rest, spec: { ...object.spec, addresses } };
    });
    const path = join(this.#directory, 'manifests', 'all.json');
    writeFileSync(
      `${path}.new`,
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...items, ...this.#slices()] }),
    );
    renameSync(`${path}.new`, path);
  }

  /** Endpoints of the services that select pods. */
  #slices(): object[] {
    return this.store.all('Service').flatMap((service) => {
      const { selector, ports = [] } = service.spec as {
        selector?: Record<string, string>;
        ports?: { name?: string; port: number; targetPort?: number | string; protocol?: string }[];
      };
      if (selector === undefined) return [];
      const { namespace, name } = service.metadata;
      const pods = [...this.#pods.values()].filter(
        ({ object }) =>
          object.metadata.namespace === namespace &&
          Object.entries(selector).every(([key, value]) => object.metadata.labels?.[key] === value),
      );
      return [
        {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: { name: `${name}-own`, namespace, labels: { 'kubernetes.io/service-name': name } },
          addressType: 'IPv4',
          ports: ports.map((each) => ({ name: each.name ?? '', port: each.targetPort ?? each.port, protocol: 'TCP' })),
          endpoints: pods.map(({ object }) => ({ addresses: [(object.status as { podIP: string }).podIP] })),
        },
      ];
    });
  }

  /** The control plane's statuses, into the objects: with the time at which each condition became what it is. */
  #readStatuses(): void {
    let text: string;
    try {
      text = readFileSync(join(this.#directory, 'status.yaml'), 'utf8');
    } catch {
      return;
    }
    if (text === this.#statusText) return;
    let statuses: (Record<string, unknown> & { kind: string; metadata: { name: string; namespace?: string } })[];
    try {
      statuses = parse(text) as typeof statuses;
    } catch {
      return;
    }
    if (!Array.isArray(statuses)) return;
    this.#statusText = text;
    const lastTransitionTime = `${new Date().toISOString().slice(0, 19)}Z`;
    const timed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(timed);
      if (typeof value !== 'object' || value === null) return value;
      const copy = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, timed(each)]));
      return 'reason' in copy && 'status' in copy ? { lastTransitionTime, ...copy } : copy;
    };
    for (const { kind, metadata, ...status } of statuses) {
      this.store.setStatus(kind, metadata.namespace ?? '', metadata.name, timed(status) as Record<string, unknown>);
      if (kind === 'GatewayClass') this.#firstStatus.resolve();
    }
  }

  // --- processes ---

  async #startPilot(): Promise<void> {
    const flags = [
      '--gateway-api',
      join(this.#directory, 'manifests'),
      '--status',
      join(this.#directory, 'status.yaml'),
    ];
    const child = Bun.spawn([...nuncioCommand(), 'pilot', '--listen', '127.0.0.1:0', ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#pilot = child;
    const started = Promise.withResolvers<number>();
    void (async () => {
      let log = '';
      for await (const bytes of child.stderr) {
        const text = Buffer.from(bytes).toString();
        if (process.env.PILOT_LOG !== undefined) process.stderr.write(text);
        log += text;
        const found = /served on 127\.0\.0\.1:(\d+)/.exec(log)?.[1];
        if (found !== undefined) started.resolve(Number(found));
      }
      started.reject(new Error(`the pilot ended: ${log}`));
    })();
    this.#pilotPort = await started.promise;
  }

  #startProxy(gateway: string): void {
    const bootstrap = followerBootstrap(this.#pilotPort, 'DELTA_GRPC', { id: gateway, cluster: gateway });
    const config = join(this.#directory, `${gateway.replace('/', '_')}.json`);
    writeFileSync(config, JSON.stringify(bootstrap));
    const flags = ['-c', config, '--concurrency', '1', '--use-dynamic-base-id', '-l', 'error'];
    const log = process.env.PROXY_LOG === undefined ? 'ignore' : 'inherit';
    this.#proxies.set(gateway, Bun.spawn([...this.#proxy, ...flags], { stdio: ['ignore', 'ignore', log] }));
  }
}
