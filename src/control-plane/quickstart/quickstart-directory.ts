import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { keyOf, type ManifestSet, readManifests } from '../gateway-api/manifest-set.ts';
import { readDirectory } from '../sources/directory.ts';

/** One address of a service. */
export interface ServiceEndpoint {
  /** `namespace/name`. */
  readonly service: string;
  readonly address: string;
  readonly port: number;
}

/** What a directory for `nuncio quickstart` holds. */
export interface QuickstartDirectory {
  /** Of Envoy's resources; empty: none. */
  readonly resources: string;
  /** Of Gateway API manifests; empty: none. */
  readonly manifests: string;
  /** What the proxy calls its cluster: the gateway that it is, `namespace/name`. */
  readonly cluster: string;
  /** Where the gateway listens. */
  readonly ports: readonly number[];
  readonly endpoints: readonly ServiceEndpoint[];
}

/**
 * `DIRECTORY/resources` and `DIRECTORY/manifests`, those that there are; without either, manifests in the directory itself.
 * @param gateway which gateway the proxy is, `namespace/name`; empty: the only one
 * @throws Error when there is no such directory, or it cannot be told which gateway is meant
 */
export function readQuickstart(directory: string, gateway: string): QuickstartDirectory {
  if (!existsSync(directory)) throw new Error(`there is no directory ${directory}`);
  const existing = (name: string): string => (existsSync(join(directory, name)) ? join(directory, name) : '');
  const resources = existing('resources');
  const manifests = existing('manifests') === '' && resources === '' ? directory : existing('manifests');
  if (manifests === '') return { resources, manifests, cluster: gateway || 'quickstart', ports: [], endpoints: [] };
  const { set, problems } = readManifests(readDirectory(manifests));
  const [problem] = problems;
  if (problem !== undefined) throw new Error(`${join(manifests, problem.file)}:${problem.line}: ${problem.reason}`);
  const all = set.all('Gateway');
  const named = gateway === '' ? all : all.filter((each) => keyOf(each) === gateway);
  const [found] = named;
  if (found === undefined) {
    throw new Error(gateway === '' ? `no Gateway in ${manifests}` : `no Gateway ${gateway} in ${manifests}`);
  }
  if (named.length > 1) throw new Error(`which Gateway is it to be? --gateway ${all.map(keyOf).join(' or ')}`);
  const ports = [...new Set(found.spec.listeners.map(({ port }) => port))];
  return { resources, manifests, cluster: keyOf(found), ports, endpoints: endpointsOf(set) };
}

const SERVICE_LABEL = 'kubernetes.io/service-name';

function endpointsOf(set: ManifestSet): ServiceEndpoint[] {
  const out: ServiceEndpoint[] = [];
  for (const slice of set.all('EndpointSlice')) {
    const name = slice.metadata.labels?.[SERVICE_LABEL];
    if (name === undefined) continue;
    const service = `${slice.metadata.namespace ?? 'default'}/${name}`;
    for (const { port } of slice.ports ?? []) {
      for (const { addresses } of slice.endpoints ?? []) {
        for (const address of addresses) if (port !== undefined) out.push({ service, address, port });
      }
    }
  }
  return out;
}
