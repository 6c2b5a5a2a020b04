import type { Server } from '../../server.ts';
import { type AdminRequest, type AdminResponse, json, text } from '../admin-request.ts';

/** `/listeners`. */
export function listeners(server: Server, request: AdminRequest): AdminResponse {
  if (request.query.get('format') !== 'json') {
    let out = '';
    for (const { name, addresses } of server.bound) for (const address of addresses) out += `${name}::${address}\n`;
    return text(out);
  }
  const statuses = server.bound.map(({ name, addresses }) => {
    const [first, ...others] = addresses.map(addressJson);
    return {
      name,
      local_address: first,
      ...(others.length === 0 ? {} : { additional_local_addresses: others }),
    };
  });
  return json(`${JSON.stringify(statuses.length === 0 ? {} : { listener_statuses: statuses }, null, 1)}\n`);
}

/** envoy.config.core.v3.Address of Envoy's text form. */
export function addressJson(address: string): object {
  const ip = /^(?:\[(.+)\]|([^:/@]+)):(\d+)$/.exec(address);
  if (ip === null) return { pipe: { path: address } };
  return { socket_address: { address: ip[1] ?? ip[2], port_value: Number(ip[3]) } };
}
