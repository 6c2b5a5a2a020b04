import type { CertificateInUse, TlsContextInUse } from '../../../net/transport-socket.ts';
import type { Server } from '../../server.ts';
import { type AdminResponse, json } from '../admin-request.ts';

const DAY_MS = 86_400_000;

/** `/certs`: what each TLS context has. Source: envoy.admin.v3.Certificates. */
export async function certs(server: Server): Promise<AdminResponse> {
  const contexts = await server.tlsContexts();
  const certificates = contexts.map((context: TlsContextInUse) => ({
    ca_cert: context.authority === null ? [] : [details(context.authority)],
    cert_chain: context.certificates.map(details),
  }));
  // As protobuf's JSON: what could end a script is escaped.
  const text = JSON.stringify({ certificates }, null, 1).replaceAll('<', '\\u003c').replaceAll('>', '\\u003e');
  return json(`${text}\n`);
}

function details(certificate: CertificateInUse): object {
  const { path, serialNumber, dnsNames, uriNames, ipNames, validFromMs, validToMs } = certificate;
  return {
    path,
    serial_number: serialNumber,
    subject_alt_names: [
      ...dnsNames.map((dns) => ({ dns })),
      ...uriNames.map((uri) => ({ uri })),
      ...ipNames.map((ip) => ({ ip_address: ip })),
    ],
    days_until_expiration: String(daysUntil(validToMs)),
    valid_from: timestamp(validFromMs),
    expiration_time: timestamp(validToMs),
  };
}

function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}

/** Whole days; 0 once it is over. */
export function daysUntil(ms: number): number {
  return Math.max(0, Math.floor((ms - Date.now()) / DAY_MS));
}
