import { existsSync, realpathSync } from 'node:fs';
import { isIP } from 'node:net';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { isTrustDomain } from '../../control-plane/mesh/spiffe-id.ts';
import type { PilotSettings } from '../../control-plane/pilot-process.ts';
import { parseLogLevel } from '../../main/log-levels.ts';
import { FlagError } from '../flags.ts';
import {
  flagsHelp,
  limitsOf,
  numberFlag,
  PILOT_FLAGS,
  type PilotFlagValues,
  placeFlag,
  readPilotFlags,
} from '../pilot-flags.ts';

const ABOUT = `usage: nuncio pilot [flags]

A control plane: serves what is in directories to Envoy, Nuncio and gRPC clients, and follows their changes.

`;

/** `nuncio pilot`. Runs until it is told to stop. @returns the exit code */
export async function pilotCommand(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${ABOUT}${flagsHelp(PILOT_FLAGS)}`);
    return 0;
  }
  let settings: PilotSettings;
  try {
    settings = settingsOf(readPilotFlags(PILOT_FLAGS, args));
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    process.stderr.write(`${error.message}\n\nnuncio pilot --help tells all flags\n`);
    return 1;
  }
  const { startPilot } = await import('../../control-plane/pilot-process.ts');
  const { loadSockets } = await import('../../main/socket-runtime.ts');
  const { loadTls } = await import('../../main/tls-runtime.ts');
  const pilot = startPilot(settings, await loadSockets(), await loadTls());
  process.on('SIGTERM', () => pilot.stop());
  process.on('SIGINT', () => pilot.stop());
  await pilot.stopped;
  return 0;
}

/** Links on the way are followed: another path may lead there as well. */
function isInside(directory: string, file: string): boolean {
  const real = (path: string): string => (existsSync(path) ? realpathSync(path) : resolve(path));
  const inside = relative(real(directory), join(real(dirname(resolve(file))), basename(file)));
  return inside.split(sep)[0] !== '..' && !isAbsolute(inside);
}

/** A flag that would say nothing is refused. @throws FlagError */
function refuseIdle(values: PilotFlagValues, names: readonly string[], why: string): void {
  for (const name of names) {
    const { fallback } = PILOT_FLAGS.find((flag) => flag.name === name)!;
    if (values[name] !== fallback) throw new FlagError(`--${name} ${why}`, '');
  }
}

/** What is a name or an address in a certificate. @throws FlagError */
function serverNamesOf(values: PilotFlagValues): string[] {
  const names = (values['server-names'] ?? '').split(',').filter((name) => name !== '');
  for (const name of names) {
    if (isIP(name) === 4 || (isIP(name) === 6 && /^[0-9a-f:]+$/i.test(name))) continue;
    if (/^[\d.]+$/.test(name) || !/^[A-Za-z0-9_*-]+(\.[A-Za-z0-9_-]+)*$/.test(name)) {
      throw new FlagError(`--server-names: '${name}' is neither a DNS name nor an address`, '');
    }
  }
  return names;
}

/** @throws FlagError for flags that contradict one another */
export function settingsOf(values: PilotFlagValues): PilotSettings {
  const { resources = '', status = '' } = values;
  const manifests = values['gateway-api'] ?? '';
  if (resources === '' && manifests === '') throw new FlagError('one of --resources and --gateway-api is needed', '');
  if (status !== '' && manifests === '') throw new FlagError('--status needs --gateway-api', '');
  for (const directory of status === '' ? [] : [manifests, resources]) {
    if (directory === '' || !isInside(directory, status)) continue;
    throw new FlagError(`--status must not lie in ${directory}: each time it is written would be a change there`, '');
  }
  const logLevel = parseLogLevel(values['log-level'] ?? '');
  if (logLevel === null) throw new FlagError(`--log-level is no '${values['log-level']}'`, '');
  return {
    ...placeFlag(values, 'listen'),
    debug: values.debug === '' ? null : placeFlag(values, 'debug'),
    resources,
    manifests,
    statusFile: status,
    security: securityOf(values),
    mesh: meshOf(values),
    serverNames: serverNamesOf(values),
    limits: limitsOf(values),
    drainMs: numberFlag(values, 'drain-time-ms', 0, 3_600_000),
    logLevel,
  };
}

function securityOf(values: PilotFlagValues): PilotSettings['security'] {
  const { 'tls-cert': certificate = '', 'tls-key': key = '', 'client-ca': clientCa = '' } = values;
  const clients = values['client-certificates'];
  if (clients !== 'require' && clients !== 'optional') {
    throw new FlagError(`--client-certificates is require or optional, not '${clients}'`, '');
  }
  if ((certificate === '') !== (key === '')) throw new FlagError('--tls-cert and --tls-key belong together', '');
  if (clientCa === '') refuseIdle(values, ['client-certificates'], 'needs --client-ca');
  if (certificate !== '')
    refuseIdle(values, ['server-names'], 'is for a certificate of the mesh, not beside --tls-cert');
  if (certificate === '' && values['mesh-ca'] === '') {
    if (clientCa !== '') throw new FlagError('--client-ca needs --tls-cert and --tls-key, or --mesh-ca', '');
    return null;
  }
  return { certificate, key, clientCa, clientsMayBeUnknown: clients === 'optional' };
}

function meshOf(values: PilotFlagValues): PilotSettings['mesh'] {
  const { 'mesh-ca': directory = '', 'mesh-rules': rulesFile = '', 'trust-domain': trustDomain = '' } = values;
  if (directory === '') {
    refuseIdle(values, ['mesh-rules', 'trust-domain', 'certificate-ttl-s', 'server-names'], 'needs --mesh-ca');
    return null;
  }
  if (!isTrustDomain(trustDomain)) {
    throw new FlagError(`--trust-domain is no '${trustDomain}': lower-case letters, digits, dot, dash, underscore`, '');
  }
  // A month: what is issued cannot be withdrawn.
  const ttlSeconds = numberFlag(values, 'certificate-ttl-s', 2, 31 * 86_400);
  return { directory, trustDomain, rulesFile, ttlSeconds };
}
