import type { ApiRegistry } from '../api/api-registry.ts';
import type { Bootstrap } from '../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import { err, ok, type Result } from '../base/result.ts';
import { BuildContext } from '../config/build-context.ts';
import { type BootstrapPlan, type BootstrapSettings, buildBootstrap } from '../config/builders/bootstrap.ts';
import { StaticSecretTable } from '../config/builders/static-secrets.ts';
import type { ConfigError } from '../config/diagnostics/config-error.ts';
import type { ExtensionRegistry } from '../config/extension-registry.ts';
import { type ConfigInput, type LoadedConfig, loadPartially, withoutEchoes } from '../config/load/load-config.ts';
import type { SecretDependency } from '../config/secrets/secret-dependency.ts';
import type { StaticSecrets } from '../config/secrets/tls-build.ts';
import { supportedFields } from '../config/supported-fields.ts';
import { v2Rewrite } from '../config/upgrade/upgrade-tree.ts';
import { ConstraintChecker } from '../config/validate/constraint-checker.ts';
import { RuntimeSnapshot } from '../pipeline/runtime-snapshot.ts';
import { StatsStore } from '../stats/store.ts';
import type { TlsRefusal } from './tls-runtime.ts';

export interface LoadedBootstrap {
  readonly plan: BootstrapPlan;
  readonly loaded: LoadedConfig<Bootstrap>;
  readonly warnings: readonly ConfigError[];
  /** What the bootstrap's own resources take from secrets and files. */
  readonly secrets: readonly SecretDependency[];
  readonly staticSecrets: StaticSecrets;
  readonly tlsRefusal: TlsRefusal;
}

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
  const { loaded, errors: unread } = loadPartially<Bootstrap>(inputs, {
    api,
    desc,
    unknownFields,
    rewrite: v2Rewrite(api, desc),
  });
  // A text that is no YAML at all leaves nothing to check.
  if (unread.some((error) => error.path === '')) return err(unread);
  const { message, anys, positions } = loaded;
  const secrets: SecretDependency[] = [];
  const { serviceNode = '', serviceCluster = '' } = settings;
  const nodeId = serviceNode === '' ? message.node?.id : serviceNode;
  const nodeCluster = serviceCluster === '' ? message.node?.cluster : serviceCluster;
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
    clusterNames: new Set(message.staticResources?.clusters.map((cluster) => cluster.name) ?? []),
  });
  const staticSecrets = StaticSecretTable.build(plain.at('static_resources'), message.staticResources?.secrets ?? []);
  const tls = { staticSecrets, require: (dependency: SecretDependency) => void secrets.push(dependency), refusal };
  const context = new BuildContext({ ...plain.shared, tls });
  const constraints = new ConstraintChecker(api).check(message, desc, anys, positions);
  supportedFields(extensions).check(context, desc, message);
  const plan = buildBootstrap(context, message, settings);
  const { errors, warnings } = context.shared;
  const found = withoutRepeats(
    constraints.errors,
    errors.map((issue) => positions.attach(issue)),
  );
  const faults = [...unread, ...(unread.length === 0 ? found : withoutEchoes(found, unread, positions))];
  if (plan === null || faults.length > 0) return err(faults);
  return ok({
    plan,
    loaded,
    secrets,
    staticSecrets,
    tlsRefusal: refusal,
    warnings: [
      ...loaded.warnings,
      ...constraints.warnings,
      ...warnings.map((issue) => positions.attach({ ...issue, severity: 'warning' })),
    ],
  });
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
