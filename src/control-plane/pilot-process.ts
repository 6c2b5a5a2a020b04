import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { openApiRegistry } from '../api/api-registry.ts';
import { SystemClock } from '../base/clock.ts';
import { deferred } from '../base/deferred.ts';
import { Logger, type LogLevel } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { ipAddress } from '../net/address.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import type { SocketRuntime } from '../net/transport.ts';
import { Pilot } from './pilot.ts';

export interface PilotFlags {
  /** Where discovery is served; port 0: any. */
  readonly host: string;
  readonly port: number;
  /** A directory of Envoy's resources; empty: none. */
  readonly resources: string;
  /** A directory of Gateway API manifests; empty: none. */
  readonly manifests: string;
  /** Where the statuses of the manifests are written, as YAML, whenever they are translated; empty: nowhere. */
  readonly statusFile: string;
  readonly logLevel: LogLevel;
}

/** A control plane that runs in this process. */
export interface RunningPilot {
  /** `host:port` with the real port. */
  readonly address: string;
  stop(): void;
  /** Resolves once it was stopped. */
  readonly stopped: Promise<void>;
}

/**
 * @throws Error when a directory does not exist or the address cannot be had
 */
export function startPilot(flags: PilotFlags, createSockets: (dispatcher: Dispatcher) => SocketRuntime): RunningPilot {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const logger = new Logger('pilot', flags.logLevel, {
    write: (level, name, message) => {
      process.stderr.write(`[${new Date().toISOString()}][${level}][${name}] ${message}\n`);
    },
  });
  dispatcher.onBug = (error) =>
    logger.critical(error instanceof Error ? (error.stack ?? error.message) : String(error));
  const pilot = new Pilot({
    api: openApiRegistry(),
    dispatcher,
    sockets: createSockets(dispatcher),
    logger,
    address: ipAddress(flags.host, flags.port),
    resources: flags.resources,
    manifests: flags.manifests,
    onStatuses: (statuses) => {
      if (flags.statusFile !== '') writeFileSync(flags.statusFile, stringify(statuses));
    },
  });
  const address = pilot.start();
  logger.info(`discovery is served on ${address.text}`);
  const end = deferred();
  const stop = (): void => {
    pilot.stop();
    end.resolve();
  };
  return { address: address.text, stop, stopped: end.promise };
}
