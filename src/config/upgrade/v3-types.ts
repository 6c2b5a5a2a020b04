/** Which message of v3 took the place of a message of v2, by the API's own annotations. */
import { type DescField, type DescMessage, getOption } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';

/** Moves that the annotations of the v2 files do not tell, or tell wrongly. */
const MOVED: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'envoy.config.cluster.redis.RedisClusterConfig': 'envoy.extensions.clusters.redis.v3.RedisClusterConfig',
    'envoy.config.filter.http.cache.v2alpha.CacheConfig': 'envoy.extensions.filters.http.cache.v3.CacheConfig',
    'envoy.config.filter.http.ext_authz.v2.ExtAuthz': 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
    'envoy.config.filter.thrift.router.v2alpha1.Router':
      'envoy.extensions.filters.network.thrift_proxy.router.v3.Router',
    'envoy.config.health_checker.redis.v2.Redis': 'envoy.extensions.health_checkers.redis.v3.Redis',
    'envoy.config.resource_monitor.fixed_heap.v2alpha.FixedHeapConfig':
      'envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig',
    'envoy.config.resource_monitor.injected_resource.v2alpha.InjectedResourceConfig':
      'envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig',
  }),
);

/** Messages of v3 whose `previous_message_type` names a message that no longer exists. */
const PREVIOUS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz': 'envoy.config.filter.http.ext_authz.v2.ExtAuthz',
  }),
);

const V2_PACKAGE = /^envoy\.(.*\.)?v[12](alpha\d?)?\.|^envoy\.config\.(cluster\.redis|retry\.previous_priorities)\./;
const V2_TYPE_URL =
  /\/envoy\.([a-z0-9_.]*\.)?v[12](alpha\d?)?\.[A-Z]|\/envoy\.config\.(cluster\.redis|retry\.previous_priorities)\./;

/** Whether a message name is of a v2 package, by its look. */
export function isV2Name(typeName: string): boolean {
  return V2_PACKAGE.test(typeName);
}

/** Whether a text names a type of v2 in a type URL. Linear in its length. */
export function mentionsV2Type(text: string): boolean {
  return V2_TYPE_URL.test(text);
}

export class V3Types {
  readonly api: ApiRegistry;
  readonly #previous = new Map<DescMessage, DescMessage | undefined>();
  readonly #fields = new Map<DescMessage, ReadonlyMap<string, DescField>>();

  constructor(api: ApiRegistry) {
    this.api = api;
  }

  /** The v3 message that a v2 message became; undefined when it has none. */
  successor(typeName: string): DescMessage | undefined {
    const moved = MOVED.get(typeName);
    if (moved !== undefined) return this.api.message(moved);
    const desc = this.api.message(typeName);
    if (desc === undefined) return undefined;
    const migrate = getOption(desc.file, this.api.extension('udpa.annotations.file_migrate')) as
      | { readonly moveToPackage?: string }
      | undefined;
    const from = desc.file.proto.package;
    const to =
      migrate?.moveToPackage === undefined || migrate.moveToPackage === ''
        ? from.replace(/\.v[12](alpha\d?)?$/, '.v3')
        : migrate.moveToPackage;
    const found = to === from ? undefined : this.api.message(to + typeName.slice(from.length));
    return found !== undefined && this.previous(found) === desc ? found : undefined;
  }

  /** The v2 message that a v3 message came from. */
  previous(desc: DescMessage): DescMessage | undefined {
    if (this.#previous.has(desc)) return this.#previous.get(desc);
    const versioning = getOption(desc, this.api.extension('udpa.annotations.versioning')) as
      | { readonly previousMessageType?: string }
      | undefined;
    const name = PREVIOUS.get(desc.typeName) ?? versioning?.previousMessageType;
    const found = name === undefined || name === '' ? undefined : this.api.message(name);
    this.#previous.set(desc, found);
    return found;
  }

  /** A field by its proto name or its JSON name. */
  field(desc: DescMessage, name: string): DescField | undefined {
    let fields = this.#fields.get(desc);
    if (fields === undefined) {
      const byName = new Map<string, DescField>();
      for (const field of desc.fields) byName.set(field.jsonName, field);
      for (const field of desc.fields) byName.set(field.name, field);
      fields = byName;
      this.#fields.set(desc, fields);
    }
    return fields.get(name);
  }

  fieldByNumber(desc: DescMessage, number: number): DescField | undefined {
    return desc.fields.find((field) => field.number === number);
  }
}
