import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { LayeredRuntime } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

const BOOTSTRAP = 'envoy.config.bootstrap.v3';

export const RUNTIME_SUPPORT: readonly FieldSupport[] = [
  { message: `${BOOTSTRAP}.LayeredRuntime`, fields: 'layers' },
  { message: `${BOOTSTRAP}.RuntimeLayer`, fields: 'name static_layer disk_layer admin_layer' },
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
  | { readonly kind: 'admin'; readonly name: string };

/** The layers, as Envoy has them: without any, one for `/runtime_modify`. */
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
        flatten(at, 'static_layer', '', layer.layerSpecifier.value as JsonObject, values);
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
      case 'rtdsLayer':
        // Refused by the table of supported fields.
        break;
      default:
        at.refuse('', 'a layer needs static_layer, disk_layer or admin_layer');
    }
  });
  return layers.length === 0 ? [{ kind: 'admin', name: '' }] : layers;
}

/** Nested mappings become dotted keys; a mapping with numerator or denominator is a fraction (Envoy: walkProtoValue). */
function flatten(
  context: BuildContext,
  field: string,
  prefix: string,
  value: JsonObject,
  into: Map<string, RuntimeValue>,
): void {
  for (const [name, item] of Object.entries(value)) {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    if (item === null || Array.isArray(item)) {
      context.refuse(
        `${field}.${name}`,
        `Invalid runtime entry value for ${key}`,
        'give a number, text, bool or fraction',
      );
    } else if (typeof item !== 'object' || 'numerator' in item || 'denominator' in item) {
      into.set(key, item);
    } else {
      flatten(context, `${field}.${name}`, key, item, into);
    }
  }
}
