/** A socket address, immutable. `text` is Envoy's rendering: `1.2.3.4:80`, `[::1]:80`, a path, `@abstract`. */
export interface IpAddress {
  readonly kind: 'ip';
  readonly version: 4 | 6;
  /** Canonical text of the address alone. */
  readonly ip: string;
  /** 0-65535. */
  readonly port: number;
  readonly text: string;
}

export interface PipeAddress {
  readonly kind: 'pipe';
  /** File path; a leading `@` names an abstract socket. */
  readonly path: string;
  /** File mode bits, 0 = leave to umask. */
  readonly mode: number;
  readonly text: string;
}

export interface InternalAddress {
  readonly kind: 'internal';
  readonly listenerName: string;
  readonly endpointId: string;
  readonly text: string;
}

export type Address = IpAddress | PipeAddress | InternalAddress;

export function ipAddress(ip: string, port: number): IpAddress {
  const version = ip.includes(':') ? 6 : 4;
  return { kind: 'ip', version, ip, port, text: version === 6 ? `[${ip}]:${port}` : `${ip}:${port}` };
}

export function pipeAddress(path: string, mode = 0): PipeAddress {
  return { kind: 'pipe', path, mode, text: path };
}

export function internalAddress(listenerName: string, endpointId = ''): InternalAddress {
  return { kind: 'internal', listenerName, endpointId, text: `envoy://${listenerName}/${endpointId}` };
}
