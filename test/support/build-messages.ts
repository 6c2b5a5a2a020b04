import { readFileSync } from 'node:fs';
import { fromJson, type JsonValue, type Message } from '@bufbuild/protobuf';
import { parse } from 'yaml';
import { ApiRegistry } from '../../src/api/api-registry.ts';
import { BuildContext, type BuildIssue, type BuildScope } from '../../src/config/build-context.ts';
import { type ExtensionFactory, ExtensionRegistry } from '../../src/config/extension-registry.ts';
import { AnyMessages } from '../../src/config/load/any-messages.ts';
import { EMPTY_RUNTIME } from '../../src/routing/runtime-fraction.ts';
import { StatsStore } from '../../src/stats/store.ts';

const api = new ApiRegistry(readFileSync(new URL('../../src/api/envoy-1.40.binpb', import.meta.url)));

/** One dry build of messages that are written as YAML: for tests of builders and factories. */
export class TestBuild {
  readonly shared: BuildScope;
  readonly context: BuildContext;

  // biome-ignore lint/suspicious/noExplicitAny: factories of every kind
  constructor(factories: readonly ExtensionFactory<any, any>[] = []) {
    this.shared = {
      api,
      anys: new AnyMessages(api),
      extensions: new ExtensionRegistry(factories),
      runtime: EMPTY_RUNTIME,
      errors: [],
      warnings: [],
      stats: new StatsStore().root,
      clusterNames: null,
    };
    this.context = new BuildContext(this.shared);
  }

  /** @param typeName such as `envoy.config.cluster.v3.Cluster` */
  message<M extends Message>(typeName: string, yaml: string): M {
    const desc = api.message(typeName);
    if (desc === undefined) throw new Error(`no message ${typeName}`);
    return fromJson(desc, parse(yaml) as JsonValue, { registry: api.registry }) as M;
  }

  /** Errors as `path: reason`. */
  get errors(): string[] {
    return this.shared.errors.map((issue: BuildIssue) => `${issue.path}: ${issue.reason}`);
  }

  get warnings(): string[] {
    return this.shared.warnings.map((issue: BuildIssue) => `${issue.path}: ${issue.reason}`);
  }
}
