import { lstatSync, renameSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { openApiRegistry } from '../api/api-registry.ts';
import { SystemClock } from '../base/clock.ts';
import { deferred } from '../base/deferred.ts';
import { endStartUp } from '../base/jit-policy.ts';
import { Logger, type LogLevel } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { ipAddress } from '../net/address.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import type { SocketRuntime } from '../net/transport.ts';
import type { TlsEngine } from '../net/transport-socket.ts';
import { MeshListenerSecurity } from './mesh/mesh-listener-security.ts';
import { type MeshEnvironment, MeshSecrets, type MeshSettings } from './mesh/mesh-secrets.ts';
import { Metrics } from './metrics.ts';
import { Pilot, type PilotLimits } from './pilot.ts';
import { ListenerSecurity, type SecurityFiles } from './security/listener-security.ts';
import { secureTransport } from './security/secure-transport.ts';

export interface PilotSettings {
  /** Where discovery is served; port 0: any. */
  readonly host: string;
  readonly port: number;
  /** Where debug pages and metrics are served; null: nowhere. */
  readonly debug: { readonly host: string; readonly port: number } | null;
  /** A directory of Envoy's resources; empty: none. */
  readonly resources: string;
  /** A directory of Gateway API manifests; empty: none. */
  readonly manifests: string;
  /** Where the statuses of the manifests are written, as YAML, whenever they are translated; empty: nowhere. */
  readonly statusFile: string;
  /** Null: discovery is served without TLS; with a mesh and an empty certificate, by one of the mesh. */
  readonly security: SecurityFiles | null;
  /** Null: no certificates are issued. */
  readonly mesh: MeshSettings | null;
  /** What a certificate of the mesh is for, where the server has no other. */
  readonly serverNames: readonly string[];
  readonly limits: PilotLimits;
  /** How long the end may take: streams are ended one after the other, ms. */
  readonly drainMs: number;
  readonly logLevel: LogLevel;
}

/** A control plane that runs in this process. */
export interface RunningPilot {
  /** `host:port` with the real port. */
  readonly address: string;
  /** Drains first; a second call ends at once. */
  stop(): void;
  /** Resolves once it was stopped. */
  readonly stopped: Promise<void>;
}

/**
 * @throws Error when a directory does not exist, the credentials are not fit for use or the address cannot be had
 */
export function startPilot(
  flags: PilotSettings,
  createSockets: (dispatcher: Dispatcher) => SocketRuntime,
  createTls: (dispatcher: Dispatcher) => TlsEngine,
): RunningPilot {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const logger = new Logger('pilot', flags.logLevel, {
    write: (level, name, message) => {
      process.stderr.write(`[${new Date().toISOString()}][${level}][${name}] ${message}\n`);
    },
  });
  dispatcher.onBug = (error) =>
    logger.critical(error instanceof Error ? (error.stack ?? error.message) : String(error));
  const api = openApiRegistry();
  const metrics = new Metrics();
  let renewOwn = (): void => {};
  const mesh =
    flags.mesh === null ? null : new MeshSecrets(flags.mesh, { api, dispatcher, metrics, logger }, () => renewOwn());
  const security = securityOf(flags, mesh, { api, dispatcher, metrics, logger });
  if (security instanceof MeshListenerSecurity) renewOwn = () => security.renew();
  const socket = security === null ? null : createTls(dispatcher).serverSocket(security, metrics.tlsStats());
  const pilot = new Pilot({
    api,
    dispatcher,
    metrics,
    limits: flags.limits,
    mesh,
    secure: socket === null ? null : secureTransport(socket),
    sockets: createSockets(dispatcher),
    logger,
    address: ipAddress(flags.host, flags.port),
    debugAddress: flags.debug === null ? null : ipAddress(flags.debug.host, flags.debug.port),
    resources: flags.resources,
    manifests: flags.manifests,
    onStatuses: (statuses) => {
      if (flags.statusFile !== '') writeStatuses(flags.statusFile, stringify(statuses));
    },
  });
  const address = pilot.start();
  logger.info(`discovery is served on ${address.text}${security === null ? '' : ' over TLS'}`);
  if (pilot.debugAddress !== null) logger.info(`debug pages are on http://${pilot.debugAddress.text}/debug`);
  endStartUp();
  const end = deferred();
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) {
      pilot.close();
      return;
    }
    isStopping = true;
    logger.info(`${pilot.streamCount} streams are ended`);
    void pilot.stop(flags.drainMs).then(() => {
      security?.close();
      mesh?.close();
      end.resolve();
    });
  };
  return { address: address.text, stop, stopped: end.promise };
}

/** Whoever reads it never finds half of it. */
function writeStatuses(path: string, text: string): void {
  // A link or a device is written to.
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false) {
    writeFileSync(path, text);
    return;
  }
  const draft = `${path}.new`;
  writeFileSync(draft, text);
  renameSync(draft, path);
}

function securityOf(
  flags: PilotSettings,
  mesh: MeshSecrets | null,
  { api, dispatcher, metrics, logger }: MeshEnvironment,
): ListenerSecurity | MeshListenerSecurity | null {
  const { security, serverNames } = flags;
  if (security === null) return null;
  const onChange = (fault: string): void => {
    const outcome = fault === '' ? 'taken' : 'refused';
    metrics.counter('credential_reloads', 'Renewals of the certificates of the listener.', { outcome }).inc();
    if (fault === '') logger.info('the certificates of the listener are renewed');
    else logger.error(`the certificates of the listener stay as they were: ${fault}`);
  };
  if (security.certificate !== '' || mesh === null) return new ListenerSecurity(api, security, onChange);
  const { clientCa, clientsMayBeUnknown } = security;
  return new MeshListenerSecurity(
    api,
    mesh.authority,
    dispatcher,
    serverNames,
    clientCa,
    clientsMayBeUnknown,
    onChange,
  );
}
