import type { DescMessage, Message } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { Bootstrap } from '../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { Cluster } from '../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { err, ok, type Result } from '../base/result.ts';
import { BuildContext } from '../config/build-context.ts';
import { type BootstrapPlan, type BootstrapSettings, buildBootstrap } from '../config/builders/bootstrap.ts';
import { StaticSecretTable } from '../config/builders/static-secrets.ts';
import type { ConfigError } from '../config/diagnostics/config-error.ts';
import type { ExtensionRegistry } from '../config/extension-registry.ts';
import type { FieldSupportTable } from '../config/field-support.ts';
import type { AnyMessages } from '../config/load/any-messages.ts';
import { type ConfigInput, loadPartially, withoutEchoes } from '../config/load/load-config.ts';
import type { PositionMap } from '../config/load/position-map.ts';
import { loadSplit, type SplitConfig } from '../config/load/split-load.ts';
import type { SecretDependency } from '../config/secrets/secret-dependency.ts';
import type { StaticSecrets } from '../config/secrets/tls-build.ts';
import { supportedFields } from '../config/supported-fields.ts';
import { v2Rewrite } from '../config/upgrade/upgrade-tree.ts';
import { ConstraintChecker } from '../config/validate/constraint-checker.ts';
import { RuntimeSnapshot } from '../pipeline/runtime-snapshot.ts';
import { StatsStore } from '../stats/store.ts';
import type { TlsRefusal } from './tls-runtime.ts';

/** What the text of a bootstrap was: for messages about it, and for those who read its Anys once more. */
export interface BootstrapOrigin {
  readonly positions: PositionMap;
  /** The messages inside Anys, decoded once. */
  readonly anys: AnyMessages;
}

export interface LoadedBootstrap {
  readonly plan: BootstrapPlan;
  /** Null once it is in force: it may be large, and nobody asks any more. */
  origin: BootstrapOrigin | null;
  readonly warnings: readonly ConfigError[];
  /** What the bootstrap's own resources take from secrets and files. */
  readonly secrets: readonly SecretDependency[];
  readonly staticSecrets: StaticSecrets;
  readonly tlsRefusal: TlsRefusal;
}

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const CLUSTERS_PATH = ['static_resources', 'clusters'];

/** Reads, checks and builds a bootstrap without starting anything. All errors come at once, with positions. */
export function loadBootstrap(
  inputs: readonly ConfigInput[],
  api: ApiRegistry,
  extensions: ExtensionRegistry,
  unknownFields: 'reject' | 'warn' | 'ignore',
  settings: BootstrapSettings = { statsTags: [] },
  refusal: TlsRefusal = () => null,
): Result<LoadedBootstrap, readonly ConfigError[]> {
  const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
  const options = { api, desc, unknownFields, rewrite: v2Rewrite(api, desc) };
  const [first] = inputs;
  const split = inputs.length === 1 ? loadSplit<Bootstrap>(first!, options, CLUSTERS_PATH) : null;
  const flawless = split === null ? null : loadPieces(split, api, extensions, settings, refusal);
  if (flawless !== null) return ok(flawless);
  const { loaded, errors: unread } = loadPartially<Bootstrap>(inputs, options);
  // A text that is no YAML at all leaves nothing to check.
  if (unread.some((error) => error.path === '')) return err(unread);
  const { message, anys, positions } = loaded;
  const build = new BootstrapBuild(message, anys, api, extensions, settings, refusal);
  const clusters = message.staticResources?.clusters ?? [];
  for (const { name } of clusters) build.clusterNames.add(name);
  const constraints = new ConstraintChecker(api).check(message, desc, anys, positions);
  build.fields.check(build.context, desc, message);
  const plan = buildBootstrap(build.context, message, clusters, settings);
  const { errors, warnings } = build.context.shared;
  const found = withoutRepeats(
    constraints.errors,
    errors.map((issue) => positions.attach(issue)),
  );
  const faults = [...unread, ...(unread.length === 0 ? found : withoutEchoes(found, unread, positions))];
  if (plan === null || faults.length > 0) return err(faults);
  if (message.staticResources !== undefined) message.staticResources.clusters = [];
  return ok(
    build.result(plan, positions, [
      ...loaded.warnings,
      ...constraints.warnings,
      ...warnings.map((issue) => positions.attach({ ...issue, severity: 'warning' })),
    ]),
  );
}

/** A large bootstrap, cluster by cluster. @returns null: there is something to complain about, which a reading of the whole tells */
function loadPieces(
  { message, anys, positions, items }: SplitConfig<Bootstrap>,
  api: ApiRegistry,
  extensions: ExtensionRegistry,
  settings: BootstrapSettings,
  refusal: TlsRefusal,
): LoadedBootstrap | null {
  const build = new BootstrapBuild(message, anys, api, extensions, settings, refusal);
  const { context, fields, clusterNames } = build;
  const checker = new ConstraintChecker(api);
  let isFlawless = true;
  const check = (piece: Message, type: DescMessage): boolean => {
    const { errors, warnings } = checker.check(piece, type, anys);
    fields.check(context, type, piece);
    isFlawless &&= errors.length + warnings.length + context.errorCount === 0;
    return isFlawless;
  };
  if (!check(message, api.message(message.$typeName)!)) return null;
  const type = api.message(CLUSTER)!;
  function* clusters(): Generator<Cluster> {
    for (const cluster of items()) {
      isFlawless &&= cluster !== null && check(cluster, type);
      if (!isFlawless) return;
      clusterNames.add((cluster as Cluster).name);
      yield cluster as Cluster;
    }
  }
  const plan = buildBootstrap(context, message, clusters(), settings);
  const { errors, warnings } = context.shared;
  if (plan === null || !isFlawless || errors.length + warnings.length > 0) return null;
  return build.result(plan, positions, []);
}

/** What takes part in building a bootstrap dry. */
class BootstrapBuild {
  readonly context: BuildContext;
  readonly fields: FieldSupportTable;
  /** Filled before listeners are built. */
  readonly clusterNames = new Set<string>();
  readonly #secrets: SecretDependency[] = [];
  readonly #staticSecrets: StaticSecrets;
  readonly #refusal: TlsRefusal;

  constructor(
    { staticResources, node }: Bootstrap,
    anys: AnyMessages,
    api: ApiRegistry,
    extensions: ExtensionRegistry,
    settings: BootstrapSettings,
    refusal: TlsRefusal,
  ) {
    const { serviceNode = '', serviceCluster = '' } = settings;
    const nodeId = serviceNode === '' ? node?.id : serviceNode;
    const nodeCluster = serviceCluster === '' ? node?.cluster : serviceCluster;
    const plain = new BuildContext({
      api,
      anys,
      extensions,
      runtime: new RuntimeSnapshot({}),
      errors: [],
      warnings: [],
      stats: new StatsStore().root,
      checksFiles: true,
      lacksNode: [nodeId, nodeCluster].some((name) => name === undefined || name === ''),
      clusterNames: this.clusterNames,
    });
    this.#refusal = refusal;
    this.#staticSecrets = StaticSecretTable.build(plain.at('static_resources'), staticResources?.secrets ?? []);
    const require = (dependency: SecretDependency): void => void this.#secrets.push(dependency);
    const tls = { staticSecrets: this.#staticSecrets, require, refusal };
    this.context = new BuildContext({ ...plain.shared, tls });
    this.fields = supportedFields(extensions);
  }

  result(plan: BootstrapPlan, positions: PositionMap, warnings: readonly ConfigError[]): LoadedBootstrap {
    return {
      plan,
      origin: { positions, anys: this.context.shared.anys },
      warnings,
      secrets: this.#secrets,
      staticSecrets: this.#staticSecrets,
      tlsRefusal: this.#refusal,
    };
  }
}

/** One complaint per field; and what stands in an extension that is refused whole is not judged by its own rules. */
function withoutRepeats(constraints: readonly ConfigError[], built: readonly ConfigError[]): ConfigError[] {
  const broken = new Set(constraints.map((error) => error.path));
  const refused = built.filter((error) => error.path.endsWith('typed_config')).map((error) => error.path);
  return [
    ...constraints.filter((error) => !refused.some((path) => error.path.startsWith(path))),
    ...built.filter((error) => !broken.has(error.path) || refused.includes(error.path)),
  ];
}
