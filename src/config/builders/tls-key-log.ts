import { closeSync, openSync, writeSync } from 'node:fs';
import type { TlsKeyLog as TlsKeyLogMessage } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.d.ts';
import type { Address } from '../../net/address.ts';
import type { TlsKeyLog } from '../../net/tls/tls-settings.ts';
import type { BuildContext } from '../build-context.ts';
import { buildCidrMatcher } from './cidr-ranges.ts';

function isIn(ranges: ((ip: string) => boolean) | null, address: Address): boolean {
  return ranges === null || (address.kind === 'ip' && ranges(address.ip));
}

/** Appends to a file, which is opened with the first line. Every worker has its own handle. */
class KeyLogFile implements TlsKeyLog {
  readonly #path: string;
  readonly #local: ((ip: string) => boolean) | null;
  readonly #remote: ((ip: string) => boolean) | null;
  #file = -1;

  constructor(path: string, local: ((ip: string) => boolean) | null, remote: ((ip: string) => boolean) | null) {
    this.#path = path;
    this.#local = local;
    this.#remote = remote;
  }

  wants(local: Address, remote: Address): boolean {
    return isIn(this.#local, local) && isIn(this.#remote, remote);
  }

  write(line: string): void {
    if (this.#file < 0) this.#file = openSync(this.#path, 'a', 0o600);
    writeSync(this.#file, line.endsWith('\n') ? line : `${line}\n`);
  }
}

/** @param context that of the CommonTlsContext */
export function buildKeyLog(context: BuildContext, message: TlsKeyLogMessage | undefined): TlsKeyLog | null {
  if (message === undefined) return null;
  const at = context.at('key_log');
  const local = buildCidrMatcher(at, 'local_address_range', message.localAddressRange);
  const remote = buildCidrMatcher(at, 'remote_address_range', message.remoteAddressRange);
  if (context.shared.tls !== undefined && message.path !== '') {
    try {
      closeSync(openSync(message.path, 'a', 0o600));
    } catch (error) {
      const missing = (error as { code?: string }).code === 'ENOENT';
      const reason = missing ? 'No such file or directory' : (error as Error).message;
      at.refuse('path', `unable to open file '${message.path}': ${reason}`);
    }
  }
  return new KeyLogFile(
    message.path,
    message.localAddressRange.length === 0 ? null : local,
    message.remoteAddressRange.length === 0 ? null : remote,
  );
}
