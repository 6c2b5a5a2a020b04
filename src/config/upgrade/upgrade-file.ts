/** One file of v2, from text to the text of v3: YAML stays YAML, JSON stays JSON. */
import { type ApiRegistry, openApiRegistry } from '../../api/api-registry.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { ConfigError } from '../diagnostics/config-error.ts';
import { type ConfigInput, parseTree } from '../load/load-config.ts';
import type { TreeMapping } from '../load/tree.ts';
import { printJson } from './print-json.ts';
import { printYaml } from './print-yaml.ts';
import { upgradeTree } from './upgrade-tree.ts';

export interface UpgradedFile {
  /** The file as it was when it has nothing of v2. */
  readonly text: string;
  readonly changed: boolean;
  /** One for each thing that was upgraded. */
  readonly warnings: readonly ConfigError[];
}

/**
 * Upgrades a bootstrap, or a file of resources (a DiscoveryResponse), in YAML or JSON.
 * @returns all that v3 has no place for, and what is wrong with the text
 */
export function upgradeFile(
  input: ConfigInput,
  api: ApiRegistry = openApiRegistry(),
): Result<UpgradedFile, readonly ConfigError[]> {
  const parsed = parseTree(input);
  if (parsed.tree === undefined) return err(parsed.errors);
  const isResponse = (parsed.tree as TreeMapping).entry('resources') !== undefined;
  const type = isResponse ? 'envoy.service.discovery.v3.DiscoveryResponse' : 'envoy.config.bootstrap.v3.Bootstrap';
  const upgraded = upgradeTree(parsed.tree, api, api.message(type)!);
  if (upgraded.errors.length > 0) return err([...upgraded.errors, ...upgraded.warnings]);
  if (upgraded.tree === parsed.tree) return ok({ text: parsed.source.text, changed: false, warnings: parsed.warnings });
  const text = input.format === 'json' ? printJson(upgraded.tree) : printYaml(upgraded.tree, parsed.source);
  return ok({ text, changed: true, warnings: [...parsed.warnings, ...upgraded.warnings] });
}
