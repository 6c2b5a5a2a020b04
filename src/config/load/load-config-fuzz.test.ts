/** Whatever the bytes, loading answers with a message or with errors: it never throws and never hangs. */

import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { toBinary } from '@bufbuild/protobuf';
import { editedText } from '../../../test/support/text-edits.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import { SeededRandom } from '../../base/random.ts';
import { renderErrors } from '../diagnostics/render.ts';
import { ConstraintChecker } from '../validate/constraint-checker.ts';
import { type ConfigFormat, loadConfig } from './load-config.ts';

const api = openApiRegistry();
const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
const checker = new ConstraintChecker(api);
const folder = new URL('../../../test/config-cases/valid/', import.meta.url);
const corpus = readdirSync(folder).map((file) => readFileSync(new URL(file, folder), 'utf8'));

function run(content: string | Uint8Array, format: ConfigFormat): boolean {
  const loaded = loadConfig([{ name: 'fuzz', format, content }], { api, desc });
  if (!loaded.ok) {
    expect(loaded.error.length).toBeGreaterThan(0);
    renderErrors(loaded.error, { colours: true });
    return false;
  }
  toBinary(desc, loaded.value.message);
  const checked = checker.check(loaded.value.message, desc, loaded.value.anys, loaded.value.positions);
  renderErrors([...checked.errors, ...checked.warnings], { colours: false });
  return true;
}

describe('fuzz', () => {
  for (const format of ['yaml', 'json', 'pb_text'] as const) {
    test(`mutated ${format}`, () => {
      const random = new SeededRandom(0x5eed + format.length);
      let accepted = 0;
      for (let i = 0; i < 2000; i++) {
        const text = corpus[random.below(corpus.length)] ?? '';
        const flow = format === 'yaml' ? text : format === 'json' ? JSONISH : TEXTISH;
        if (run(editedText(flow, random), format)) accepted++;
      }
      expect(accepted).toBeGreaterThan(0);
      expect(accepted).toBeLessThan(2000);
    }, 60_000);
  }

  test('mutated binary', () => {
    const loaded = loadConfig([{ name: 'x', format: 'json', content: JSONISH }], { api, desc });
    if (!loaded.ok) throw new Error(loaded.error[0]?.reason);
    const bytes = toBinary(desc, loaded.value.message);
    const random = new SeededRandom(77);
    for (let i = 0; i < 3000; i++) {
      const copy = bytes.slice(0, random.float() < 0.2 ? random.below(bytes.length) : bytes.length);
      for (let k = 0; k < 3 && copy.length > 0; k++) copy[random.below(copy.length)] = random.below(256);
      run(copy, 'pb');
    }
  }, 60_000);

  test('cut off after every byte', () => {
    for (let i = 0; i < JSONISH.length; i++) run(JSONISH.slice(0, i), 'json');
    for (let i = 0; i < JSONISH.length; i++) run(JSONISH.slice(0, i), 'yaml');
    for (let i = 0; i < TEXTISH.length; i++) run(TEXTISH.slice(0, i), 'pb_text');
  }, 60_000);
});

const JSONISH = `{"node":{"id":"a\\u00e9","metadata":{"k":[1,2.5,null,{"x":"y"}]}},"static_resources":{"clusters":[{"name":"c","type":"STATIC","connect_timeout":"1.5s","per_connection_buffer_limit_bytes":7,
"metadata":{"typed_filter_metadata":{"x":{"@type":"type.googleapis.com/envoy.config.core.v3.Node","id":"q"},"y":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"a/envoy.config.core.v3.Node","value":{"id":"z"}}}}}]}}`;

const TEXTISH = `node < id: "a\\303\\251" 'b' metadata { fields { key: "k" value { list_value { values { number_value: 1.5e3 } } } } } >
static_resources { clusters: [{ name: 'c' type: STATIC connect_timeout { seconds: 1 } per_connection_buffer_limit_bytes { value: 0x7 } }] } # end
bootstrap_extensions { name: "e" typed_config { [type.googleapis.com/envoy.config.core.v3.Node] { id: "in" } } }`;
