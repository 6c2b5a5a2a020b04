import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { LayeredRuntime } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildConfigSource, type SourceSpec } from './config-source.ts';

const BOOTSTRAP = 'envoy.config.bootstrap.v3';

export const RUNTIME_SUPPORT: readonly FieldSupport[] = [
  { message: `${BOOTSTRAP}.LayeredRuntime`, fields: 'layers' },
  { message: `${BOOTSTRAP}.RuntimeLayer`, fields: 'name static_layer disk_layer admin_layer rtds_layer' },
  { message: `${BOOTSTRAP}.RuntimeLayer.RtdsLayer`, fields: '*' },
  { message: 'envoy.service.runtime.v3.Runtime', fields: 'layer', inert: 'name' },
  { message: `${BOOTSTRAP}.RuntimeLayer.DiskLayer`, fields: 'symlink_root subdirectory append_service_cluster' },
  { message: `${BOOTSTRAP}.RuntimeLayer.AdminLayer`, fields: '' },
];

/** A runtime value: a scalar, or the JSON of a FractionalPercent. */
export type RuntimeValue = string | number | boolean | Readonly<Record<string, JsonValue>>;

/** One layer of `layered_runtime`; later ones win. */
export type RuntimeLayerSpec =
  | { readonly kind: 'static'; readonly name: string; readonly values: ReadonlyMap<string, RuntimeValue> }
  | {
      readonly kind: 'disk';
      readonly name: string;
      /** The symbolic link whose swap brings new values. */
      readonly symlinkRoot: string;
      readonly subdirectory: string;
      readonly appendServiceCluster: boolean;
    }
  | {
      readonly kind: 'rtds';
      readonly name: string;
      /** Name of the Runtime resource. */
      readonly resource: string;
      readonly source: SourceSpec;
    }
  | { readonly kind: 'admin'; readonly name: string };

/** The layers in their order; without any, `/runtime_modify` has nothing to change. */
export function buildRuntimeLayers(context: BuildContext, message: LayeredRuntime | undefined): RuntimeLayerSpec[] {
  const layers: RuntimeLayerSpec[] = [];
  const names = new Set<string>();
  let hasAdmin = false;
  message?.layers.forEach((layer, index) => {
    const at = context.at(`layered_runtime.layers[${index}]`);
    if (names.has(layer.name)) at.refuse('name', `Duplicate layer name: ${layer.name}`);
    names.add(layer.name);
    switch (layer.layerSpecifier.case) {
      case 'staticLayer': {
        const values = new Map<string, RuntimeValue>();
        flatten(at, 'static_layer', layer.layerSpecifier.value as JsonObject, values);
        layers.push({ kind: 'static', name: layer.name, values });
        break;
      }
      case 'diskLayer': {
        const { symlinkRoot, subdirectory, appendServiceCluster } = layer.layerSpecifier.value;
        layers.push({ kind: 'disk', name: layer.name, symlinkRoot, subdirectory, appendServiceCluster });
        break;
      }
      case 'adminLayer':
        if (hasAdmin) {
          at.refuse('admin_layer', 'Too many admin layers specified in LayeredRuntime, at most one may be specified');
        }
        hasAdmin = true;
        layers.push({ kind: 'admin', name: layer.name });
        break;
      case 'rtdsLayer': {
        const { name: resource, rtdsConfig } = layer.layerSpecifier.value;
        const source = buildConfigSource(at, 'rtds_layer.rtds_config', rtdsConfig);
        if (source !== null) layers.push({ kind: 'rtds', name: layer.name, resource, source });
        break;
      }
      default:
        at.refuse('', 'a layer needs static_layer, disk_layer or admin_layer');
    }
  });
  return layers;
}

/** Nested mappings become dotted keys; a mapping with numerator or denominator is a fraction (Envoy: walkProtoValue). */
function flatten(context: BuildContext, field: string, value: JsonObject, into: Map<string, RuntimeValue>): void {
  const values = flattenRuntime(value, (key) => {
    context.refuse(
      `${field}.${key}`,
      `Invalid runtime entry value for ${key}`,
      'give a number, text, bool or fraction',
    );
  });
  for (const [key, item] of values) into.set(key, item);
}

/** The values of a layer by dotted keys. @param refuse hears of keys whose values are no runtime values */
export function flattenRuntime(layer: JsonObject, refuse: (key: string) => void): Map<string, RuntimeValue> {
  const values = new Map<string, RuntimeValue>();
  const walk = (prefix: string, value: JsonObject): void => {
    for (const [name, item] of Object.entries(value)) {
      const key = prefix === '' ? name : `${prefix}.${name}`;
      if (item === null || Array.isArray(item)) refuse(key);
      else if (typeof item !== 'object' || 'numerator' in item || 'denominator' in item) values.set(key, item);
      else walk(key, item);
    }
  };
  walk('', layer);
  return values;
}
